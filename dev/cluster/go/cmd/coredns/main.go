// coredns: CoreDNS with only the plugins that a cluster's own names need.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

// The order in which a query passes through the plugins, whatever the order in the Corefile.
func init() {
	dnsserver.Directives = []string{"bind", "ready", "errors", "template", "cache", "kubernetes"}
}

func main() { coremain.Run() }

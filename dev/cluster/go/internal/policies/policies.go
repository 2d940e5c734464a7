// Package policies enforces NetworkPolicies on the one node, with kube-router's controller alone: its routing and its service proxy stay out.
//
// kube-network-policies, of Kubernetes' own, is smaller; it decides in user space and needs nftables' `queue`, which not every kernel has.
// This one writes iptables rules and ipsets, which live beside kube-proxy's nftables. What comes from the node itself, such as the
// kubelet's probes, is always let through.
package policies

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/spf13/cobra"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// NewCommand runs the controller until it is killed.
func NewCommand() *cobra.Command {
	config := &options.KubeRouterConfig{
		EnableIPv4:         true,
		IPTablesSyncPeriod: 5 * time.Minute,
		NodePortRange:      "30000-32767",
	}
	var kubeconfig string
	command := &cobra.Command{
		Use:   "policies",
		Short: "Enforce the cluster's NetworkPolicies on this node",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			settings, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(settings)
			if err != nil {
				return err
			}
			return run(command.Context(), client, config)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of the controller's user")
	command.Flags().StringVar(&config.HostnameOverride, "node", "", "name of this node")
	command.Flags().StringSliceVar(&config.ClusterIPCIDRs, "services", nil, "addresses of Services")
	return command
}

func run(ctx context.Context, client kubernetes.Interface, config *options.KubeRouterConfig) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	chains, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	controller, err := netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, &sync.Mutex{}, chains, sets)
	if err != nil {
		return err
	}
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		pods: controller.PodEventHandler, namespaces: controller.NamespaceEventHandler, policies: controller.NetworkPolicyEventHandler,
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	for _, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return errors.New("the API server did not list pods, namespaces and policies")
		}
	}
	var running sync.WaitGroup
	running.Add(1)
	go controller.Run(unheard(), ctx.Done(), &running)
	running.Wait()
	return nil
}

// unheard takes the heartbeats that the controller waits to be rid of.
func unheard() chan<- *healthcheck.ControllerHeartbeat {
	beats := make(chan *healthcheck.ControllerHeartbeat)
	go func() {
		for range beats {
		}
	}()
	return beats
}

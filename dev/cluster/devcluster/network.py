"""The cable between machine and node: a veth pair, and the routes to API, pods and services."""

import ipaddress
import json
from collections.abc import Collection
from contextlib import suppress

from devcluster.cluster import NUMBERS, Cluster
from devcluster.errors import ClusterError, CommandFailed
from devcluster.holder import enter
from devcluster.process import run

NODE_LINK = "node0"


def free_number(taken: Collection[int]) -> int:
    """The first number whose networks no route of the machine touches. ClusterError when there is none."""
    routes = [ipaddress.ip_network(each["dst"]) for each in _routes() if each["dst"] != "default"]
    for number in NUMBERS:
        wanted = [ipaddress.ip_network(net) for net in Cluster(name="any", number=number).networks]
        if number not in taken and not any(a.overlaps(b) for a in routes for b in wanted):
            return number
    raise ClusterError(
        "every 10.250.0-49.0/24 is taken by a cluster or a route of this machine (`ip route`)"
    )


def _routes() -> list[dict[str, str]]:
    routes: list[dict[str, str]] = json.loads(run(["ip", "-j", "-4", "route", "show"]) or "[]")
    return [each for each in routes if each.get("type", "unicast") == "unicast"]


def connect(cluster: Cluster, holder: int) -> None:
    """Lay the cable. The node's default route is the machine's end: the services' range needs some route."""
    link = cluster.link
    run(
        ["ip", "link", "add", link, "type", "veth", "peer", "name", NODE_LINK, "netns", str(holder)]
    )
    run(["ip", "addr", "add", f"{cluster.host_address}/24", "dev", link])
    run(["ip", "link", "set", link, "up"])
    inside = [*enter(holder), "ip"]
    run([*inside, "addr", "add", f"{cluster.node_address}/24", "dev", NODE_LINK])
    run([*inside, "link", "set", NODE_LINK, "up"])
    run([*inside, "route", "add", "default", "via", cluster.host_address])
    for network in (cluster.pods, cluster.services):
        run(["ip", "route", "add", network, "via", cluster.node_address])


def disconnect(cluster: Cluster) -> None:
    """Take the cable away, and the routes with it. The kernel may have done so already."""
    with suppress(CommandFailed):
        run(["ip", "link", "del", cluster.link])

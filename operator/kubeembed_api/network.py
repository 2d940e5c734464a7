"""spec.network: who reaches the public port of the pods. Peers are those of a Kubernetes NetworkPolicy."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.sourced import Value

#: A prefix and a name with a slash between them, or the name alone.
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
Cidr = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F.:]+/[0-9]+$", max_length=43)]


class Requirement(Value):
    """One expression of a label selector."""

    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] | None = Field(default=None, max_length=32)


class LabelSelector(Value):
    """Which objects, by their labels. Empty: all of them."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Requirement, ...] | None = Field(default=None, max_length=16)


class IPBlock(Value):
    """Addresses outside the cluster."""

    cidr: Cidr
    except_: tuple[Cidr, ...] | None = Field(default=None, alias="except", max_length=32)


class Peer(Value):
    """Pods of this namespace, of others, or addresses."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class Network(Value):
    """Who reaches the public port. Without a list: everybody."""

    allow_from: tuple[Peer, ...] | None = Field(default=None, min_length=1, max_length=32)


def check_network(network: Network) -> None:
    """Raises InvalidSpec for what the API server would refuse of the NetworkPolicy."""
    for index, peer in enumerate(network.allow_from or ()):
        field = f"spec.network.allowFrom[{index}]"
        selects = peer.pod_selector is not None or peer.namespace_selector is not None
        if selects == (peer.ip_block is not None):
            raise InvalidSpec(field, "is podSelector, namespaceSelector, both of them, or ipBlock")
        for selector in (peer.pod_selector, peer.namespace_selector):
            _check_selector(field, selector)
        if peer.ip_block is not None:
            _check_block(field, peer.ip_block)


def _check_selector(field: str, selector: LabelSelector | None) -> None:
    for each in (selector.match_expressions or ()) if selector else ():
        if bool(each.values) != (each.operator in ("In", "NotIn")):
            told = f"{each.key} {each.operator}: values go with In and NotIn, and with nothing else"
            raise InvalidSpec(field, told)


def _check_block(field: str, block: IPBlock) -> None:
    whole = _addresses(field, block.cidr)
    for text in block.except_ or ():
        part = _addresses(field, text)
        first, last = _ends(whole)
        if part.version != whole.version or not first <= _ends(part)[0] <= _ends(part)[1] <= last:
            raise InvalidSpec(f"{field}.ipBlock.except", f"{text} is not within {block.cidr}")


def _addresses(field: str, text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidSpec(f"{field}.ipBlock", f"{error}; write one like 10.0.0.0/8") from error


def _ends(block: IPv4Network | IPv6Network) -> tuple[int, int]:
    return int(block.network_address), int(block.broadcast_address)

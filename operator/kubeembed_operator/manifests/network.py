"""Who reaches a model's pods: one NetworkPolicy for those that serve and those that fetch.

Ports are numbers, because not every network plugin resolves names. What comes from a pod's own node is let
through by every plugin, so the kubelet's probes are not named. Out is left open: fetches go to the world.
"""

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import ADMIN_PORT, HTTP_PORT, MODEL_LABEL, SERVING
from kubeembed_operator.kinds import NETWORK_POLICY, Manifest
from kubeembed_operator.manifests.metadata import child
from kubeembed_operator.settings import Settings


def network_policy(model: EmbeddingModel, settings: Settings) -> Manifest:
    """The admin port for the operator and whom the administrator names; the public one for everybody, or for
    those whom the document names."""
    spec = {
        "ingress": [
            {"from": [dict(peer) for peer in settings.admin_from], "ports": [_port(ADMIN_PORT)]},
            {**_callers(model), "ports": [_port(HTTP_PORT)]},
        ],
        "podSelector": {"matchLabels": {MODEL_LABEL: model.name}},
        "policyTypes": ["Ingress"],
    }
    return {**child(NETWORK_POLICY, model.name, model, SERVING), "spec": spec}


def _callers(model: EmbeddingModel) -> Manifest:
    """Without the field a rule is for everybody; an empty list would be too, so it is never made.

    The gateway is not let in beside them: it would bring whoever reaches the gateway.
    """
    told = model.spec.network.allow_from
    if told is None:
        return {}
    peers = [peer.model_dump(by_alias=True, exclude_none=True, mode="json") for peer in told]
    return {"from": peers}


def _port(number: int) -> Manifest:
    return {"port": number, "protocol": "TCP"}

"""How a sleeping model is still reached: a second EndpointSlice of its Service, which leads to the gateway.

On a port that belongs to this model alone, so that the gateway knows which one is asked for whatever the
request says. Kubernetes leaves the slice alone because of who looks after it.
"""

from collections.abc import Sequence

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import GATEWAY, SLICE_MANAGER, activator_slice_name
from kubeembed_operator.kinds import ENDPOINT_SLICE, Manifest
from kubeembed_operator.manifests.metadata import child
from kubeembed_operator.manifests.serving import HTTP_PORT_NAME


def activator_slice(model: EmbeddingModel, port: int, addresses: Sequence[str]) -> Manifest:
    """addresses: IPv4, of the gateway's pods that are ready."""
    made = child(ENDPOINT_SLICE, activator_slice_name(model.name), model, GATEWAY)
    labels = {
        **made["metadata"]["labels"],
        "endpointslice.kubernetes.io/managed-by": SLICE_MANAGER,
        "kubernetes.io/service-name": model.name,
    }
    return {
        **made,
        "metadata": {**made["metadata"], "labels": labels},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True}} for address in sorted(addresses)
        ],
        "ports": [{"name": HTTP_PORT_NAME, "port": port, "protocol": "TCP"}],
    }

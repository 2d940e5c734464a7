"""What serves the pods that wait to be promoted: as the model's own, under another name and another label.

The number of replicas is applied: no scaler has it, it follows that of the model's own pods.
"""

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import NEXT
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests import serving
from kubeembed_operator.manifests.placement import disruption_budget, wants_disruption_budget


def next_serving(model: EmbeddingModel, deployment: Manifest, replicas: int) -> list[Manifest]:
    """At least one replica, also beside a model that sleeps: it is there to be asked."""
    spec = {**deployment["spec"], "replicas": max(replicas, 1)}
    return [
        serving.service(model, NEXT),
        *([disruption_budget(model, NEXT)] if wants_disruption_budget(model) else []),
        {**deployment, "spec": spec},
    ]

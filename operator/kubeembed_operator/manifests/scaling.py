"""How many replicas the Deployment has, applied by a field manager that owns this number and nothing else."""

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import REPLICAS_ANNOTATION
from kubeembed_operator.kinds import DEPLOYMENT, Manifest

#: In the annotation of a model whose number follows its load: no number of a document equals it.
AUTOMATIC = "automatic"
#: In its place while the number is KEDA's, so that whoever has it next writes it.
KEDA = "KEDA"


def scale(model: EmbeddingModel, replicas: int, version: str | None = None) -> Manifest:
    """version: of the Deployment that the number was decided for; another one is not scaled by it."""
    told = {"resourceVersion": version} if version is not None else {}
    asked = AUTOMATIC if model.spec.scaling.automatic else str(replicas)
    return {**_noted(model, asked, **told), "spec": {"replicas": replicas}}


def handed_to_keda(model: EmbeddingModel) -> Manifest:
    """Says so, and nothing of the number itself. Applied by a field manager of its own: the one that owns the
    number takes it away by leaving it out."""
    return _noted(model, KEDA)


def _noted(model: EmbeddingModel, asked: str, **metadata: str) -> Manifest:
    """The Deployment, of which nothing is said but who asked for its number."""
    return {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.name,
        "metadata": {
            "annotations": {REPLICAS_ANNOTATION: asked},
            "name": model.name,
            "namespace": model.namespace,
            **metadata,
        },
    }


def first_replicas(model: EmbeddingModel) -> int | None:
    """How many the document asks for of a new model; None where it leaves the number to others altogether.

    One that may sleep begins awake, because nobody knows of it before that it works.
    """
    scaling = model.spec.scaling
    return scaling.least if scaling.mode == "Builtin" else scaling.replicas


def asked_before(deployment: Manifest) -> str:
    """What the document asked for last. One is what a Deployment has by itself."""
    annotations = deployment["metadata"].get("annotations") or {}
    return str(annotations.get(REPLICAS_ANNOTATION, "1"))

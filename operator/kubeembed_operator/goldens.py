"""Which golden vectors pods are held to: those of the user's ConfigMap as the operator read it. Pure.

Pods see a ConfigMap that was written anew some time later, each at its own. So a template says by digests
which vectors are meant, and an adapter is sent to running pods together with its own. What was rolled out
keeps the vectors that it was held to: writing the ConfigMap anew alone restarts nothing.
"""

from functools import partial
from typing import Any

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.golden import adapter_key, digests
from kubeembed_api.names import SERVING
from kubeembed_operator.adapterlists import Lists
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.listings import Golden
from kubeembed_operator.manifests.deployment import deployment
from kubeembed_operator.observed import Observed
from kubeembed_operator.rolledout import is_through, rolled_out, template_name
from kubeembed_operator.settings import Settings

#: Seconds until the ConfigMap of a roll-out that is not through is read again: it is not watched.
POLL = 10.0


def serving_deployment(
    resolved: EmbeddingModel,
    settings: Settings,
    observed: Observed,
    component: str = SERVING,
    *,
    replaces: bool = False,
    idle: bool = False,
) -> Manifest:
    """The Deployment of that component, held to the vectors of today; or to those that it was rolled out
    with, where nothing else of its pods is another."""
    make = partial(deployment, resolved, settings, component, replaces=replaces, idle=idle)
    data = observed.golden
    for name, told in rolled_out(observed).items():
        if data is not None and told.component == component and told.golden is not None:
            same = make(read=told.golden)
            if template_name(same) == name:
                return same
    return make(read=None if data is None else digests(data))


def sent(model: EmbeddingModel, observed: Observed, lists: Lists) -> Golden:
    """What comes with an adapter. The vectors are of the document's base: pods of an earlier one have back
    what they had, without being compared."""
    golden, data = model.spec.rollout.golden, observed.golden

    def of(pod: Manifest, name: str) -> dict[str, Any] | None:
        if golden is None or data is None:
            return None
        lines = data.get(adapter_key(name)) if lists.takes(pod) else None
        # of a key that is empty the pod says so: it is not as if there were none
        lines = "" if lines is None else lines or "\n"
        return {"lines": lines, "minCosine": golden.min_cosine}

    return of


def look_in(observed: Observed) -> float | None:
    """Seconds until the ConfigMap is to be read again, though nothing happens."""
    found = (observed.deployment, observed.next.deployment)
    waits = any(each is not None and not is_through(each, observed) for each in found)
    return POLL if observed.golden is not None and waits else None

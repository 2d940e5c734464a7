"""Which templates' roll-outs were through: all of their pods were ready at a time. Pure.

It stands in the model's ConfigMap, where pods see it: a pod that comes later, for one that was lost, is not
held to all that stops a roll-out. One template is remembered for each Deployment, until another is through.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kubeembed_api.golden import Digests
from kubeembed_api.names import (
    ADAPTERS_ANNOTATION,
    GOLDEN_ANNOTATION,
    NEXT,
    ROLLED_OUT_KEY,
    SERVING,
    TEMPLATE_ANNOTATION,
)
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.observed import Observed, annotation, template_of
from kubeembed_operator.rollout import complete
from kubeembed_operator.sleep import replicas_of

KEY_BEGIN = ROLLED_OUT_KEY.format("")


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledOut:
    """A template: the component of its Deployment, the list of adapters that its pods read, and the golden
    vectors that they were held to."""

    component: str
    adapters: str
    golden: Digests | None = None

    def __str__(self) -> str:
        golden = [self.golden.base, self.golden.every] if self.golden is not None else []
        return " ".join([self.component, self.adapters, *golden])


def rolled_out(observed: Observed) -> Mapping[str, RolledOut]:
    """By the name of the template."""
    found: dict[str, RolledOut] = {}
    for component, deployment in (
        (SERVING, observed.deployment),
        (NEXT, observed.next.deployment),
    ):
        if deployment is not None:
            found |= _now(deployment, component) or _before(observed, component)
    return found


def is_through(deployment: Manifest, observed: Observed) -> bool:
    """Whether what it makes pods of was rolled out."""
    return template_name(deployment) in rolled_out(observed)


def template_name(deployment: Manifest) -> str:
    """Of its template; empty where it has none."""
    return annotation(template_of(deployment), TEMPLATE_ANNOTATION) or ""


def rolled_out_keys(observed: Observed) -> dict[str, str]:
    """Of the ConfigMap."""
    return {ROLLED_OUT_KEY.format(name): str(told) for name, told in rolled_out(observed).items()}


def _now(deployment: Manifest, component: str) -> dict[str, RolledOut]:
    """A sleeping one shows nothing: no pod of it need ever have been ready."""
    name, template = template_name(deployment), template_of(deployment)
    if not name or replicas_of(deployment) == 0 or not complete(deployment):
        return {}
    golden = (annotation(template, GOLDEN_ANNOTATION) or "").split()
    adapters = annotation(template, ADAPTERS_ANNOTATION) or ""
    return {name: _read([component, adapters, *golden])}


def _before(observed: Observed, component: str) -> dict[str, RolledOut]:
    data: Mapping[str, str] = (observed.config_map or {}).get("data") or {}
    found = {
        key.removeprefix(KEY_BEGIN): _read(told.split(" "))
        for key, told in data.items()
        if key.startswith(KEY_BEGIN)
    }
    return {name: told for name, told in found.items() if told.component == component}


def _read(told: list[str]) -> RolledOut:
    """Nothing in particular where somebody edited it by hand."""
    component, adapters, *golden = [*told, ""][: max(len(told), 2)]
    meant = Digests(base=golden[0], every=golden[1]) if len(golden) == 2 else None
    return RolledOut(component=component, adapters=adapters, golden=meant)

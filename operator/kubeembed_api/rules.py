"""Rules across the fields of `spec`, for documents that no API server has seen. The CRD has them as CEL."""

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.network import check_network
from kubeembed_api.rollout import check_rollout
from kubeembed_api.scaling import check_scaling
from kubeembed_api.sourced import check_sourced
from kubeembed_api.sources import MOUNTED, STORES, Source
from kubeembed_api.spec import Recipe, Spec


def check_spec(spec: Spec) -> None:
    """Raises InvalidSpec."""
    check_sourced(spec.model, "spec.model")
    for index, adapter in enumerate(spec.adapters):
        check_sourced(adapter, f"spec.adapters[{index}]")
    names = [adapter.name for adapter in spec.adapters]
    if len(set(names)) < len(names):
        raise InvalidSpec("spec.adapters", f"each name once; found {names}")
    _check_account(spec)
    _check_recipe(spec.recipe)
    _check_cache(spec, spec.model.parsed)
    check_scaling(spec.scaling)
    check_rollout(spec.rollout, spec.recipe.outputs)
    check_network(spec.network)
    _check_reach(spec)


def _check_reach(spec: Spec) -> None:
    """Who reaches the gateway is not asked again where it forwards to."""
    if spec.scaling.may_sleep and spec.network.allow_from is not None:
        problem = (
            "0 has the gateway bring what anybody asked for meanwhile, and spec.network.allowFrom says who"
            " may ask: write min 1, or leave out spec.network.allowFrom"
        )
        raise InvalidSpec("spec.scaling.min", problem)


def _check_recipe(recipe: Recipe) -> None:
    if recipe.instruction is not None and "{instruction}" not in recipe.instruction:
        problem = "is a template: write {instruction} where the instruction of a request goes"
        raise InvalidSpec("spec.recipe.instruction", problem)


def _check_account(spec: Spec) -> None:
    if spec.model.service_account_name is None:
        return
    field, model = "spec.model.serviceAccountName", spec.model
    if not any(told.parsed.scheme in STORES for told in (model, *spec.adapters)):
        raise InvalidSpec(field, "is who s3://, gs:// and az:// are read as; leave it out")
    if model.credentials_secret is not None and model.parsed.scheme in STORES:
        raise InvalidSpec(field, "is one way and credentialsSecret another; write one of them")


def _check_cache(spec: Spec, source: Source) -> None:
    if spec.weights.claim and spec.weights.cache != "Shared":
        raise InvalidSpec("spec.weights.claim", "is that of the Shared cache; write cache Shared")
    cache = spec.weights.cache
    if cache == "Shared":
        return
    if source.scheme in MOUNTED:
        where = f"{source.scheme}:// is served where it lies; leave it out"
        raise InvalidSpec("spec.weights.cache", where)
    if spec.model.credentials_secret or spec.model.service_account_name:
        problem = f"{cache} fetches in serving pods, which hold no credentials; write Shared"
        raise InvalidSpec("spec.weights.cache", problem)
    if spec.adapters and cache == "Ephemeral":
        raise InvalidSpec("spec.weights.cache", "adapters are fetched into a claim; write Shared")

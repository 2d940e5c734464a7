"""What a model offers, and a request -> a refusal that says what it does offer, before any tokenising."""

from collections.abc import Sequence

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import EncodeRequest, Kind


def check(info: RuntimeInfo, request: EncodeRequest, outputs: Sequence[Kind]) -> None:
    """Raises InvalidInput for outputs, a mean of chunks or dimensions that the model does not have."""
    offered = info.outputs
    states = any(kind != "score" for kind in offered)  # a cross-encoder's mean nothing
    known = {*offered, "tokens"} if states else set(offered)
    lacking = [kind for kind in outputs if kind not in known]
    if lacking:
        problem = f"{info.name} gives no {', '.join(lacking)}"
        raise InvalidInput("outputs", f"{problem}; it gives {', '.join(offered)}")
    if request.chunking and request.chunking.pooled and list(outputs) != ["dense"]:
        raise InvalidInput("chunking", "only dense vectors of chunks have a mean; ask for dense")
    if request.dimensions is not None:
        _check_dimensions(info, request.dimensions, outputs)


def _check_dimensions(info: RuntimeInfo, wanted: int, outputs: Sequence[Kind]) -> None:
    if "dense" not in outputs:
        problem = "dimensions are of dense vectors; leave them out, or ask for dense"
        raise InvalidInput("dimensions", problem)
    most = info.output_dimensions.get("dense", info.dimensions)
    if not 1 <= wanted <= most:
        problem = f"dimensions is {wanted}; {info.name} has vectors between 1 and {most}"
        raise InvalidInput("dimensions", problem)


def reads_pairs(info: RuntimeInfo) -> bool:
    """Whether it reads query and document together; False: it has MaxSim. Raises InvalidInput for neither."""
    if "score" not in info.outputs:
        if "multivector" not in info.outputs:
            problem = f"{info.name} scores no pairs; it gives {', '.join(info.outputs)}"
            raise InvalidInput("outputs", problem)
        return False
    count = info.output_dimensions.get("score", 1)
    if count != 1:
        problem = f"{info.name} gives {count} labels for a pair, which rank nothing"
        raise InvalidInput("outputs", problem)
    return True

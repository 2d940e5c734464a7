"""Whether the pods that are ready answer in one vector space, from what each says of itself. Pure.

Vectors of two fingerprints can't be compared, and nobody sees it from the vectors.
"""

from collections.abc import Sequence

from kubeembed_api.podreasons import Trouble
from kubeembed_api.reasons import Reason
from kubeembed_api.report import RuntimeInfo
from kubeembed_operator.kinds import Manifest

#: Digits of a fingerprint that are shown of several: enough to tell them apart.
SHOWN_DIGITS = 12


def agreed(infos: Sequence[RuntimeInfo]) -> RuntimeInfo | None:
    """What every pod says; None where they differ, or where nobody says anything."""
    return infos[0] if len(_fingerprints(infos)) == 1 else None


def told_fingerprint(raw: Manifest) -> str | None:
    """Of the pods that answer for the model, as its status has it."""
    told: str | None = ((raw.get("status") or {}).get("model") or {}).get("fingerprint")
    return told


def mixed(infos: Sequence[RuntimeInfo], *, rolling: bool) -> Trouble | None:
    """None where all agree. The message names each space once, however many pods are in it."""
    found = _fingerprints(infos)
    if len(found) < 2:
        return None
    spaces = sorted({f"{one.fingerprint[:SHOWN_DIGITS]} ({_shown(one)})" for one in infos})
    text = (
        f"ready pods answer in {len(found)} vector spaces: {', '.join(spaces)}; {_way_out(infos, rolling)}."
        " A client that sends If-Fingerprint-Match gets 412 from the other space"
    )
    return Trouble(Reason.MIXED_VECTOR_SPACES, text)


def _fingerprints(infos: Sequence[RuntimeInfo]) -> set[str]:
    return {one.fingerprint for one in infos}


def _shown(info: RuntimeInfo) -> str:
    return f"{info.dtype} on {info.device}"


def _way_out(infos: Sequence[RuntimeInfo], rolling: bool) -> str:
    if rolling:
        return "it clears when the roll-out is through"
    if len({one.dtype for one in infos}) > 1:
        return "write spec.recipe.dtype, so that unlike nodes compute alike"
    return "make them anew with kubectl rollout restart, and look at what differs in their /info"

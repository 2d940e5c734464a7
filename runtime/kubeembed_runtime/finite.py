"""Outputs with a value that is no number: found as a batch is taken over, before a reply is made of them.

JSON has no word for NaN or infinity, and an index that takes one in is broken without anybody noticing.
"""

import math

import numpy as np

from kubeembed_runtime.requests import Kind, Output, Vector


def not_finite(output: Output) -> Kind | None:
    """The first kind of which a value is NaN or infinite; None where all are numbers."""
    found: tuple[tuple[Kind, Vector | None], ...] = (
        ("dense", output.dense),
        ("sparse", None if output.sparse is None else output.sparse.values),
        ("multivector", output.multivector),
        ("score", output.score),
        ("tokens", output.tokens),
    )
    return next((kind for kind, values in found if values is not None and not _are(values)), None)


def _are(values: Vector) -> bool:
    """The sum of squares tells in one pass; only one that is too large for a float32 needs a second look."""
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())

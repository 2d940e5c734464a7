"""Kubernetes quantities as numbers: "500m", "2Gi", "1e3" -> Decimal, and back.

The API server rewrites what it is given (cpu 1000m comes back as 1), so quantities are compared as numbers.
"""

import re
from decimal import Decimal

_SUFFIXES: dict[str, Decimal] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
_SHAPE = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(|[numkMGTPE]|[KMGTPE]i)")


def parse_quantity(text: str) -> Decimal:
    """Raises ValueError naming the text."""
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no quantity; write one like 500m, 2 or 4Gi")
    number, suffix = match.groups()
    return Decimal(number) * _SUFFIXES[suffix]


def format_quantity(number: Decimal) -> str:
    """The shortest spelling without a fraction: 2Gi, 1500m, 3."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        scaled = number / _SUFFIXES[suffix]
        if scaled >= 1 and scaled == scaled.to_integral_value():
            return f"{scaled.to_integral_value()}{suffix}"
    for suffix in ("", "m", "u", "n"):
        scaled = number / _SUFFIXES[suffix]
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    raise ValueError(f"{number} is finer than a quantity can say")

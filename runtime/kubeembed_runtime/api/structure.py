"""How many values a JSON body has, before it is decoded: 16 MiB of `[1],` become 400 MB, and take seconds.

Counted are the brackets and commas outside of strings. Most bodies have so few at all that no more is asked.
"""

import asyncio

import numpy as np

from kubeembed_runtime.errors import InvalidInput

#: Lists and objects: each of 2,048 inputs may have some of its own.
MAX_CONTAINERS = 2**18

#: Values in lists and objects: token ids are 300,000 of them at most, once long inputs are cut.
MAX_COMMAS = 400_000

_BLOCK = 2**20


async def check_structure(body: bytes) -> None:
    """Raises InvalidInput. Texts that are full of brackets are looked through in a thread."""
    containers, commas = body.count(b"[") + body.count(b"{"), body.count(b",")
    if containers <= MAX_CONTAINERS and commas <= MAX_COMMAS:
        return
    containers, commas = await asyncio.to_thread(_count, body)
    for found, most, what in (
        (containers, MAX_CONTAINERS, "lists and objects"),
        (commas + 1, MAX_COMMAS, "values"),
    ):
        if found > most:
            problem = f"the body has {found} {what}; at most {most}: send fewer inputs per request"
            raise InvalidInput("inputs", problem)


def _count(body: bytes) -> tuple[int, int]:
    """(opening brackets, commas) outside of strings."""
    plain = np.frombuffer(body.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    containers = commas = 0
    within = False
    for at in range(0, len(plain), _BLOCK):
        block = plain[at : at + _BLOCK]
        inside = np.logical_xor.accumulate(block == ord('"')) ^ within
        within = bool(inside[-1])
        outside = block[~inside]
        containers += int(np.count_nonzero((outside == ord("[")) | (outside == ord("{"))))
        commas += int(np.count_nonzero(outside == ord(",")))
    return containers, commas

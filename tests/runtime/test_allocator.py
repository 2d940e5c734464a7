"""Memory of one batch serves the next one, until it is told to go back."""

import subprocess
import sys

PROGRAM = """
import mmap, resource, sys
from ctypes import CDLL, c_size_t, c_void_p, memset
from kubeembed_runtime import allocator

libc = CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = c_void_p, [c_size_t], [c_void_p]

def batch():
    blocks = [libc.malloc(2 << 20) for _ in range(8)]
    for block in blocks:
        memset(block, 1, 2 << 20)
    for block in blocks:
        libc.free(block)

def faults(batches):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(batches):
        batch()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if "keep" in sys.argv:
    allocator.keep()
batch()
kept = faults(50)
allocator.trim()
print(kept * mmap.PAGESIZE >> 20, faults(1) * mmap.PAGESIZE >> 20)
"""


def mebibytes(*told: str) -> list[int]:
    """Faulted in by fifty batches of 16 MiB, and by one after a trim."""
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, *told], check=True, capture_output=True, text=True
    )
    return [int(number) for number in answer.stdout.split()]


def test_what_a_batch_frees_is_there_for_the_next_one() -> None:
    assert mebibytes()[0] > 500
    assert mebibytes("keep")[0] < 16


def test_it_goes_back_when_told() -> None:
    assert mebibytes("keep")[1] >= 15

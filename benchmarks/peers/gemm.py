"""The machine's own float32 rate, asked over stdin: python gemm.py THREADS.

Each line is answered by FLOP/s of (1024, 384) @ (384, 1536), MiniLM's largest product, over 0.3 s each by
torch's BLAS and by oneDNN, which are not equally good on every CPU: the better of the two.
"""

import sys
import time
from collections.abc import Callable

import torch

ROWS, INNER, COLUMNS = 1024, 384, 1536
SECONDS = 0.3


def rate(product: Callable[[], object]) -> float:
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        product()
        count += 1
    return 2 * ROWS * INNER * COLUMNS * count / (time.perf_counter() - begun)


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))
    left, right = torch.randn(ROWS, INNER), torch.randn(INNER, COLUMNS)
    ops = torch.ops.mkldnn
    laid_out = ops._reorder_linear_weight(right.t().contiguous(), ROWS)
    print(flush=True)
    for _ in sys.stdin:
        blas = rate(lambda: torch.mm(left, right))
        print(
            max(blas, rate(lambda: ops._linear_pointwise(left, laid_out, None, "none", [], ""))),
            flush=True,
        )


if __name__ == "__main__":
    main()

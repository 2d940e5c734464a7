"""The machine's own float32 rate, asked over stdin: python gemm.py THREADS.

Each line is answered by FLOP/s of (1024, 384) @ (384, 1536), MiniLM's largest product, over 0.3 s.
"""

import sys
import time

import torch

ROWS, INNER, COLUMNS = 1024, 384, 1536
SECONDS = 0.3


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))
    left, right = torch.randn(ROWS, INNER), torch.randn(INNER, COLUMNS)
    print(flush=True)
    for _ in sys.stdin:
        count, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < SECONDS:
            torch.mm(left, right)
            count += 1
        rate = 2 * ROWS * INNER * COLUMNS * count / (time.perf_counter() - begun)
        print(rate, flush=True)


if __name__ == "__main__":
    main()

"""What HTTP costs: the runtime with a stub encoder, in one process on one core, asked from another.

Goals: 3,000 one-text requests/s, and 60,000 vectors/s of 384 numbers at 64 texts per request in base64.
--profile shows where the time goes instead: its rates are not to be compared.
"""

import argparse
import asyncio
import os
import pstats
import sys
import tempfile
from pathlib import Path

import uvloop
from load import Call, Measured, closed, embeddings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kit"))

from stubkit import NAME, launch_stub

CLIENTS = 16
SERVER_CORE, LOAD_CORE = 0, 1


def calls(texts: int, encoding_format: str | None, count: int) -> list[Call]:
    """`count` times the same request of so many short texts."""
    sent = [f"what is the answer to question {number}" for number in range(texts)]
    return [embeddings(sent, NAME, encoding_format)] * count


CASES = {
    "1 text, numbers": (1, None, 40_000),
    "1 text, base64": (1, "base64", 40_000),
    "64 texts, base64": (64, "base64", 12_000),
    "64 texts, numbers": (64, None, 3_000),
}


def measure(port: int, name: str, seconds: float) -> Measured:
    async def run() -> Measured:
        await closed(port, calls(*CASES[name])[:500], CLIENTS)
        return await closed(port, calls(*CASES[name]), CLIENTS, limit=seconds)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each case (%(default)s)")
    parser.add_argument("--case", choices=CASES, action="append", help="default: all of them")
    parser.add_argument("--profile", action="store_true", help="functions by their own time")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory() as folder:
        statistics = Path(folder, "profile")
        flags = ["--profile", str(statistics)] if options.profile else []
        pinned = ("taskset", "--cpu-list", str(SERVER_CORE))
        process = launch_stub(Path(folder), *flags, before=pinned).until_ready()
        try:
            for name in options.case or CASES:
                print(row(name, measure(process.port, name, options.seconds)), flush=True)
            assert process.terminate() == 0
        finally:
            process.end()
        if options.profile:
            pstats.Stats(str(statistics)).sort_stats("tottime").print_stats(45)


def row(name: str, found: Measured) -> str:
    """A line of the table in RESULTS.md."""
    requests = len(found.latencies) / found.seconds
    vectors, failed = found.texts_per_second, found.failed
    p50, p99 = (found.percentile(share) * 1000 for share in (0.5, 0.99))
    return f"| {name} | {requests:,.0f} | {vectors:,.0f} | {p50:.1f} | {p99:.1f} | {failed} |"


if __name__ == "__main__":
    main()

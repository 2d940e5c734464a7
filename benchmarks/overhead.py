"""What HTTP costs: the runtime with a stub encoder, in one process on one core, asked from another.

Goals: 3,000 one-text requests/s, and 60,000 vectors/s of 384 numbers at 64 texts per request in base64, per
core. "per core" is what a second of the server's CPU time serves, which other work on the machine changes
little. --profile shows where that time goes, by stages of a request: its rates are not to be compared.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uvloop
from load import Call, Measured, closed, embeddings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kit"))

from runtimekit import Process
from samplekit import table
from stubkit import NAME, WARM_UP, launch_stub

CLIENTS = 16
SERVER_CORE, LOAD_CORE = 0, 1

HEAD = """| | requests/s | vectors/s | requests per core | vectors per core | p50 ms | p99 ms | failed |
|---|--:|--:|--:|--:|--:|--:|--:|"""


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


@dataclass(frozen=True, slots=True)
class Found:
    """cpu: the server's seconds."""

    measured: Measured
    cpu: float

    def row(self, name: str) -> str:
        """A line of the table in RESULTS.md."""
        found, count = self.measured, len(self.measured.latencies)
        rates = (
            count / found.seconds,
            found.texts_per_second,
            count / self.cpu,
            found.texts / self.cpu,
        )
        p50, p99 = (found.percentile(share) * 1000 for share in (0.5, 0.99))
        cells = [*(f"{rate:,.0f}" for rate in rates), f"{p50:.1f}", f"{p99:.1f}", str(found.failed)]
        return f"| {name} | {' | '.join(cells)} |"


def measure(process: Process, name: str, seconds: float) -> Found:
    """After a warm-up."""

    async def run() -> Found:
        await closed(process.port, calls(*CASES[name])[:WARM_UP], CLIENTS)
        begun = cpu_seconds(process.popen.pid)
        found = await closed(process.port, calls(*CASES[name]), CLIENTS, limit=seconds)
        return Found(found, cpu_seconds(process.popen.pid) - begun)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def cpu_seconds(pid: int) -> float:
    """Of all threads that the process has."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each case (%(default)s)")
    parser.add_argument("--case", choices=CASES, action="append", help="default: all of them")
    parser.add_argument("--batcher", action="store_true", help="through the real batcher")
    parser.add_argument("--profile", action="store_true", help="shares of a request's stages")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    flags = ["--batcher"] if options.batcher else []
    print(HEAD)
    shares = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.case or CASES:
            samples = Path(folder, "samples")
            one_flags = [*flags, "--profile", str(samples)] if options.profile else flags
            print(serve_and_measure(Path(folder), one_flags, name, options.seconds), flush=True)
            if options.profile:
                shares[name] = json.loads(samples.read_text())
    if shares:
        print(f"\n{table(shares)}")


def serve_and_measure(folder: Path, flags: list[str], name: str, seconds: float) -> str:
    """A row, of a process of its own: the samples are of this case alone."""
    pinned = ("taskset", "--cpu-list", str(SERVER_CORE))
    process = launch_stub(folder, *flags, before=pinned).until_ready()
    try:
        row = measure(process, name, seconds).row(name)
        assert process.terminate() == 0
    finally:
        process.end()
    return row


if __name__ == "__main__":
    main()

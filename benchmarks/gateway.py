"""What the gateway costs: a pod asked directly and through the common address, in turn, on one machine.

Goals: at 50 requests/s the median at most 1 ms above the pod's own; at least 2,500 requests of 1 kB a second
of the gateway's CPU; the same with 1,000 models in its table; memory that does not grow with the requests
served (--memory). The pod is a stub that answers at once.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from load import Call, Measured, closed, opened
from overhead import cpu_seconds

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kit"))

from gatewaykit import COMMON_PORT, gateway, model, slice_of
from kubeembed_gateway.table import MODELS, SLICES
from runtimekit import Process
from stubkit import NAME, launch_stub

CLIENTS = 16
RATE = 50.0
BODY_BYTES = 1024
MODELS_MANY = 1000
WARM_UP = 500

#: Requests after which the resident size is read.
COUNTS = (1_000, 10_000, 100_000, 300_000, 1_000_000)

MEMORY_HEAD = """| requests | resident MiB | failed |
|--:|--:|--:|"""

HEAD = """| | p50 ms at 50/s | p99 ms at 50/s | requests/s | requests per core | failed | MiB before | after |
|---|--:|--:|--:|--:|--:|--:|--:|"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """paced: at RATE. pressed: by CLIENTS at once. cpu: seconds of who was asked. mib: its memory."""

    paced: Measured
    pressed: Measured
    cpu: float
    mib: tuple[float, float]

    def row(self, name: str) -> str:
        count = len(self.pressed.latencies)
        p50, p99 = (self.paced.percentile(share) * 1000 for share in (0.5, 0.99))
        cells = (
            f"{p50:.2f}",
            f"{p99:.2f}",
            f"{count / self.pressed.seconds:,.0f}",
            f"{count / self.cpu:,.0f}",
            str(self.paced.failed + self.pressed.failed),
            *(f"{each:.0f}" for each in self.mib),
        )
        return f"| {name} | {' | '.join(cells)} |"


def call() -> Call:
    """One text, in a body of BODY_BYTES."""
    body = json.dumps({"model": NAME, "input": ""}).encode()
    body = json.dumps({"model": NAME, "input": "x" * (BODY_BYTES - len(body))}).encode()
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Call(head.encode() + body, 1)


def measure(port: int, pid: int, seconds: float) -> Found:
    """After a warm-up."""

    async def run() -> Found:
        await closed(port, [call()] * WARM_UP, CLIENTS)
        paced = await opened(port, [call()] * round(RATE * seconds), RATE)
        before, begun = resident(pid), cpu_seconds(pid)
        pressed = await closed(port, [call()] * round(20_000 * seconds), CLIENTS, limit=seconds)
        spent = cpu_seconds(pid) - begun
        return Found(paced=paced, pressed=pressed, cpu=spent, mib=(before, resident(pid)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def grow(port: int, pid: int) -> Iterator[str]:
    """Rows, one for each of COUNTS."""
    served = failed = 0
    for count in COUNTS:
        calls = [call()] * (count - served)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(closed(port, calls, CLIENTS, limit=3600))
        served, failed = count, failed + found.failed
        yield f"| {served:,} | {resident(pid):.1f} | {failed} |"


def resident(pid: int) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def gateway_process(pod_port: int, models: int) -> Iterator[int]:
    """Its pid, once it listens."""
    command = [sys.executable, __file__, "--serve", str(pod_port), "--models", str(models)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def serve(pod_port: int, models: int) -> None:
    """A gateway whose table has so many models; that of the stub has the pod."""
    async with gateway() as front:
        names = [NAME, *(f"model-{number}" for number in range(1, models))]
        for name in names:
            front.table.put(MODELS, model(name))
            pod = (f"{name}-pod", pod_port if name == NAME else 1)
            front.table.put(SLICES, slice_of(name, pod))
        print("listening", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of the three (%(default)s)")
    parser.add_argument(
        "--memory", action="store_true", help="resident size over a million requests"
    )
    parser.add_argument("--serve", type=int, metavar="POD_PORT", help=argparse.SUPPRESS)
    parser.add_argument("--models", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options.serve, options.models))
        return
    print(MEMORY_HEAD if options.memory else HEAD)
    with tempfile.TemporaryDirectory() as folder:
        pod = launch_stub(Path(folder)).until_ready()
        for row in memory(pod) if options.memory else cost(pod, options):
            print(row, flush=True)
        pod.end()


def cost(pod: Process, options: argparse.Namespace) -> Iterator[str]:
    """Rows, a round after the other."""
    for _ in range(options.rounds):
        yield measure(pod.port, pod.popen.pid, options.seconds).row("the pod")
        for models in (1, MODELS_MANY):
            with gateway_process(pod.port, models) as pid:
                found = measure(COMMON_PORT, pid, options.seconds)
            yield found.row(f"the gateway, {models:,} models")


def memory(pod: Process) -> Iterator[str]:
    """Rows, of one gateway with many models."""
    with gateway_process(pod.port, MODELS_MANY) as pid:
        yield from grow(COMMON_PORT, pid)


if __name__ == "__main__":
    main()

"""Where a request's time goes in our runtime: transport, tokenising, queue, forward pass, the rest.

    .venv/bin/python benchmarks/stages.py

Nothing is timed inside the hot path: the client's clock, the histograms that the runtime has for Prometheus
anyway, and the tokenizer run alone on the same texts. What they leave is the rest: JSON, hops
between threads, and for requests of several batches the wait for the later ones.
"""

import asyncio
import urllib.request
from dataclasses import dataclass
from functools import partial
from statistics import mean
from time import perf_counter

from compare import Case, Row, cases, measured, save
from environments import packaged_model
from load import Measured, closed
from servers import Running, ours, running

from kubeembed_runtime.model.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Sums since the start, in seconds, and their counts, as /metrics has them."""

    requests: float
    request_seconds: float
    queued: float
    queue_seconds: float
    batches: float
    device_seconds: float


def counters(admin_port: int) -> Counters:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics") as reply:
        lines = reply.read().decode().splitlines()

    def total(name: str) -> float:
        found = [line for line in lines if line.partition("{")[0].split(" ")[0] == name]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    return Counters(
        requests=total("kubeembed_request_seconds_count"),
        request_seconds=total("kubeembed_request_seconds_sum"),
        queued=total("kubeembed_queue_seconds_count"),
        queue_seconds=total("kubeembed_queue_seconds_sum"),
        batches=total("kubeembed_batches_total"),
        device_seconds=total("kubeembed_device_seconds_total"),
    )


def tokenising(tokenizer: Tokenizer, case: Case) -> float:
    """Seconds per request, alone on the machine."""
    begun = perf_counter()
    for batch in case.batches:
        tokenizer(batch)
    return (perf_counter() - begun) / len(case.batches)


def stages(up: Running, admin_port: int, tokenizer: Tokenizer, case: Case) -> Row:
    """Milliseconds per request, in the mean; `forward` per batch, with pooling."""
    up.resume()
    before = counters(admin_port)
    found: Measured = asyncio.run(closed(up.port, case.calls, case.clients))
    after = counters(admin_port)
    requests = after.requests - before.requests
    inside = (after.request_seconds - before.request_seconds) / requests
    queue = (after.queue_seconds - before.queue_seconds) / (after.queued - before.queued)
    device = after.device_seconds - before.device_seconds
    forward = device / (after.batches - before.batches)
    text = tokenising(tokenizer, case)
    whole = mean(found.latencies)
    parts = {
        "whole": whole,
        "transport": whole - inside,
        "tokenise": text,
        "queue": queue,
        "forward": forward,
        "rest": inside - text - queue - forward,
    }
    return {name: 1e3 * each for name, each in parts.items()} | {"busy": device / found.seconds}


def main() -> None:
    tokenizer = Tokenizer(packaged_model(), max_tokens=256)
    server = ours()
    assert server.admin_port is not None
    found: Row = {}
    with running(server) as up:
        for case in cases(0.5):
            measured(up, partial(closed, up.port, case.calls[:4], 1))  # warms up
            found[case.name] = row = stages(up, server.admin_port, tokenizer, case)
            parts = "  ".join(f"{name} {row[name]:.2f}" for name in row if name != "busy")
            print(f"{case.name:9} ms: {parts}; device busy {row['busy']:.0%}", flush=True)
    save("stages", found)


if __name__ == "__main__":
    main()

"""KubeEmbed beside what users would pick: the same texts over HTTP, in turns, in one run.

    .venv/bin/python benchmarks/compare.py --rounds 5

All servers are up, and paused but for the one that is measured. A round asks each for the same work, in
another order each time; ratios are taken within a round, and the median round counts. Results go to the cache
folder as JSON, from which report.py makes RESULTS.md and its plots.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import texts
from environments import CACHE, packaged_model
from load import Call, Measured, closed, embeddings, opened, vectors
from servers import OURS, ST, Running, Server, bare_session, every, matrix_product, running
from tokenizers import Tokenizer

from kubeembed_runtime.cpus import thread_count

RESULTS = CACHE / "results"
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A load: who asks for what. The number of calls bounds it."""

    name: str
    clients: int
    batches: list[list[str]]

    @property
    def calls(self) -> list[Call]:
        return [embeddings(batch) for batch in self.batches]


def chunks(given: Sequence[str], size: int) -> list[list[str]]:
    return [list(given[start : start + size]) for start in range(0, len(given), size)]


def cases(scale: float) -> list[Case]:
    """The table's rows. scale: of the number of requests."""

    def some(count: int, clients: int) -> int:
        return max(clients, round(count * scale / clients) * clients)

    return [
        Case(name="mixed", clients=16, batches=chunks(texts.mixed(8 * some(48, 16)), 8)),
        Case(name="queries", clients=32, batches=chunks(texts.queries(some(384, 32)), 1)),
        Case(name="passages", clients=8, batches=chunks(texts.passages(32 * some(16, 8)), 32)),
        Case(name="single", clients=1, batches=chunks(texts.queries(some(200, 1)), 1)),
    ]


def by_concurrency() -> list[Case]:
    """Two texts of mixed length in each request, more and more clients."""
    return [
        Case(name=str(n), clients=n, batches=chunks(texts.mixed(max(48, 4 * n)), 2))
        for n in (1, 2, 4, 8, 16, 32, 64)
    ]


def by_length() -> list[Case]:
    """Eight clients with one text each, longer and longer."""
    counts = {4: 192, 16: 160, 64: 96, 128: 64, 215: 48}
    made = {n: texts.of_lengths(random.Random(n), [n] * count) for n, count in counts.items()}
    return [Case(name=str(n), clients=8, batches=chunks(made[n], 1)) for n in counts]


#: Queries a second of the open loop.
RATES = (10, 25, 50, 100, 200)


def row(server: Running, found: Measured, cpu: float, foreign: float) -> Row:
    if found.failed:
        raise ValueError(f"{server.name} answered {dict(found.statuses)}")
    return {
        "server": server.name,
        "texts_per_second": found.texts_per_second,
        "p50": found.percentile(0.5),
        "p99": found.percentile(0.99),
        "cpu_seconds_per_text": cpu / found.texts,
        "foreign_cores": foreign,
    }


def machine_seconds() -> float:
    """CPU seconds that anybody on this machine has used."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, soft, steal = map(int, words[:8])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def measured(server: Running, load: Callable[[], Any]) -> Row:
    """Runs a load on one server; the others are paused."""
    server.resume()
    try:
        own, everybody, begun = server.cpu_seconds, machine_seconds(), time.perf_counter()
        me = time.process_time()
        found: Measured = asyncio.run(load())
        cpu = server.cpu_seconds - own
        mine = time.process_time() - me
        foreign = machine_seconds() - everybody - cpu - mine
        return row(server, found, cpu, max(0.0, foreign / (time.perf_counter() - begun)))
    finally:
        server.pause()


def turns(servers: Sequence[Running], number: int) -> list[Running]:
    """Everyone once, another first each time."""
    first = number % len(servers)
    return [*servers[first:], *servers[:first]]


class Comparison:
    """All servers up; each method is a part of the results."""

    def __init__(self, servers: Sequence[Running], threads: int) -> None:
        self.servers, self.threads = servers, threads

    def starts(self) -> dict[str, Row]:
        return {server.name: asdict(server.start) for server in self.servers}

    def cosines(self) -> dict[str, float]:
        """The smallest cosine of any text to sentence-transformers' own vector."""
        given = [*texts.mixed(24), *texts.queries(4), *texts.passages(4)]
        found: dict[str, np.ndarray[Any, Any]] = {}
        for server in self.servers:
            server.resume()
            found[server.name] = np.array(asyncio.run(vectors(server.port, given)))
            server.pause()
        reference = found[ST]
        return {name: float((each * reference).sum(1).min()) for name, each in found.items()}

    def warm(self, cases: Sequence[Case]) -> None:
        for server in self.servers:
            for case in cases:
                self._closed(server, case.calls[:4], min(4, case.clients))

    def table(self, cases: Sequence[Case], rounds: int) -> dict[str, list[Row]]:
        """case -> rows, with the round's number; the baselines beside them."""
        found: dict[str, list[Row]] = {case.name: [] for case in cases}
        session = bare_session(self.threads)
        product = matrix_product(self.threads)
        try:
            for number in range(rounds):
                for case in cases:
                    for server in turns(self.servers, number):
                        found[case.name].append({"round": number, **self._case(server, case)})
                    if case.name == "passages":
                        rate = float(product.ask())
                        told(f"  {rate / 1e9:.0f} GFLOP/s float32")
                        found[case.name].append({"round": number, "server": "GEMM", "rate": rate})
                    if case.name == "single":
                        found[case.name].append({"round": number, **bare(session, case)})
                told(f"round {number + 1} of {rounds}")
        finally:
            session.close()
            product.close()
        return found

    def curve(self, cases: Sequence[Case], rounds: int) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {case.name: [] for case in cases}
        for number in range(rounds):
            for case in cases:
                for server in turns(self.servers, number):
                    found[case.name].append({"round": number, **self._case(server, case)})
        return found

    def open_loop(self, seconds: float) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for rate in RATES:
            calls = [embeddings([text]) for text in texts.queries(round(rate * seconds))]
            found[str(rate)] = []
            for server in turns(self.servers, rate):
                result = measured(server, partial(opened, server.port, calls, rate))
                told(f"  open {rate}/s {line(result)}")
                found[str(rate)].append({"round": 0, **result})
        return found

    def curves(self) -> Row:
        return {
            "concurrency": self.curve(by_concurrency(), 1),
            "length": self.curve(by_length(), 1),
            "open": self.open_loop(3),
        }

    def rest(self) -> dict[str, int]:
        return {server.name: server.resident for server in self.servers}

    def _case(self, server: Running, case: Case) -> Row:
        found = self._closed(server, case.calls, case.clients)
        told(f"  {case.name:9} {line(found)}")
        return found

    def _closed(self, server: Running, calls: Sequence[Call], clients: int) -> Row:
        return measured(server, partial(closed, server.port, calls, clients))


def bare(session: Any, case: Case) -> Row:
    """The same texts on the session alone: medians."""
    given = [text for batch in case.batches for text in batch]
    alone, whole = np.median(json.loads(session.ask(json.dumps(given))), axis=0)
    told(f"  single    bare ONNX Runtime {alone * 1e3:.1f} ms, with tokenising {whole * 1e3:.1f}")
    return {"server": "bare ONNX Runtime", "p50": float(alone), "p50_whole": float(whole)}


def line(found: Row) -> str:
    return (
        f"{found['server']:22} {found['texts_per_second']:7.1f} texts/s "
        f"p50 {found['p50'] * 1e3:8.1f} ms  p99 {found['p99'] * 1e3:8.1f} ms  "
        f"{found['cpu_seconds_per_text'] * 1e3:6.1f} CPU ms/text  others {found['foreign_cores']:.1f}"
    )


def told(text: str) -> None:
    print(text, flush=True)


def token_counts(cases: Sequence[Case]) -> dict[str, list[int]]:
    """Tokens of each text, special ones included: what has to be computed."""
    tokenizer = Tokenizer.from_file(str(packaged_model() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return {
        case.name: [
            len(each.ids) for batch in case.batches for each in tokenizer.encode_batch(batch)
        ]
        for case in cases
    }


def compare(servers: Sequence[Server], rounds: int, scale: float, curves: bool) -> None:
    threads = thread_count()
    with ExitStack() as stack:
        up: list[Running] = []
        for server in servers:
            up.append(stack.enter_context(running(server)))
            told(f"{server.name} answered after {up[-1].start.wall_seconds:.1f} s")
            up[-1].pause()
        comparison = Comparison(up, threads)
        loads = cases(scale)
        found: Row = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            "threads": threads,
            "rounds": rounds,
            "starts": comparison.starts(),
            "cosines": comparison.cosines(),
            "tokens": token_counts(loads),
        }
        told(f"smallest cosine to {ST}: {found['cosines']}")
        comparison.warm(loads)
        if rounds:
            found["table"] = comparison.table(loads, rounds)
            found["rest"] = comparison.rest()
            save("compare", found)
        if curves:
            save("curves", comparison.curves())


def save(name: str, found: Row) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found))
    told(f"results in {RESULTS / name}.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of the table; 0 leaves it out")
    parser.add_argument("--scale", type=float, default=1.0, help="of the requests in a round")
    parser.add_argument("--no-curves", action="store_true", help="the table alone")
    parser.add_argument("--only", nargs="*", help=f"servers by name, {OURS} and {ST} among them")
    given = parser.parse_args()
    # Ended by a signal, the servers that are paused have to go too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    servers = [each for each in every() if not given.only or each.name in given.only]
    compare(servers, given.rounds, given.scale, not given.no_curves)


if __name__ == "__main__":
    main()

"""The runtime as a process of its own whose encoder is a stub: all of it is real but the model.

A text gets a vector that was prepared, at once or after --seconds: what is left is what HTTP costs, and a
process that starts in a second for tests that end hundreds of them. At its end it says how many requests it
began to read, which is how many answers its clients must have.
"""

import argparse
import asyncio
import logging
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from kubeembed_api.document import parse
from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.api.connection import Connection
from kubeembed_runtime.requests import Encoded, EncodeRequest, Item, Output
from kubeembed_runtime.tokens import Framing, Tokens
from pipelinekit import Registry, Words
from runtimekit import Process, document, free_ports
from samplekit import Sampler

DIMENSIONS = 384
NAME = "stub"

#: Of random numbers; a text has the one at its length.
VECTORS = np.random.default_rng(0).standard_normal((64, DIMENSIONS), np.float32)

INFO = RuntimeInfo(
    name=NAME,
    dimensions=DIMENSIONS,
    max_tokens=256,
    pooling="mean",
    normalize=True,
    dtype="float32",
    device="cpu",
    fingerprint="f00d",
)


@dataclass(slots=True)
class StubModel:
    """A Model of protocols.py as far as embeddings need one."""

    seconds: float = 0.0
    waiting_tokens: int = 0
    info: RuntimeInfo = INFO
    adapters: tuple[str, ...] = ()
    alive: bool = True

    async def encode(self, request: EncodeRequest) -> Encoded:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        made = [Output(dense=VECTORS[len(given) % 64]) for given in request.inputs]
        return Encoded(outputs=made, tokens=len(made))

    def close(self) -> None: ...


#: Requests before the samples begin: imports, and what is set up for the first of them, are none of theirs.
WARM_UP = 500


class Counted(Connection):
    """Counts the heads of requests that want vectors. sampler: to be started after the warm-up."""

    read = 0
    sampler: Sampler | None = None

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        Counted.read += self.scope["method"] == "POST"
        if Counted.read == WARM_UP and Counted.sampler is not None:
            Counted.sampler.start()


def launch_stub(
    folder: Path, *flags: str, before: Sequence[str] = (), ports: Sequence[int] = ()
) -> Process:
    """Not waited for. before: a command that runs it, such as taskset. ports: public and admin."""
    port, admin_port = ports or free_ports(2)
    log = folder / f"stub-{port}-{time.monotonic_ns()}.log"
    command = [*before, sys.executable, __file__, "--port", str(port)]
    with log.open("wb") as out:
        popen = subprocess.Popen([*command, "--admin-port", str(admin_port), *flags], stderr=out)
    return Process(popen, port, admin_port, log)


def heads_read(process: Process) -> int:
    """Of one that has ended; 0 if that was before it served anything."""
    found = re.search(r"read (\d+) requests", process.log.read_text())
    return int(found.group(1)) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--admin-port", type=int, required=True)
    parser.add_argument("--name", default=NAME)
    parser.add_argument("--linger", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0, help="that each request takes")
    parser.add_argument("--profile", type=Path, help="where the samples by stage go")
    parser.add_argument("--batcher", action="store_true", help="the encoder is all that is a stub")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if options.profile:
        Counted.sampler = Sampler()
    _serve(options)
    logging.info("read %d requests", Counted.read)
    if Counted.sampler is not None:
        Counted.sampler.stop(options.profile)


def through_batcher(info: RuntimeInfo) -> Any:
    """The real pipeline and device thread, over an encoder and a tokenizer that answer at once."""
    from kubeembed_runtime.batcher import Batcher
    from kubeembed_runtime.loading import Loaded
    from kubeembed_runtime.pipeline import Pipeline

    def tokenize(inputs: Sequence[Any], framing: Framing) -> list[Tokens]:
        return [Tokens([len(given) % 64]) for given in inputs]

    def encode(items: Sequence[Item]) -> list[Output]:
        return [Output(dense=VECTORS[item.ids[0]]) for item in items]

    batcher = Batcher(encode, budget=1024, capacity=300_000)
    batcher.start()
    pipeline = Pipeline(
        info=info,
        tokenize=tokenize,
        vocabulary=Words(),
        batcher=batcher,
        threads=1,
        adapters=Registry(),
    )
    return Loaded(pipeline=pipeline, batcher=batcher)


def _serve(options: argparse.Namespace) -> None:
    import uvloop

    from kubeembed_runtime import serving
    from kubeembed_runtime.api import server
    from kubeembed_runtime.loading import Loaded

    cast(Any, server).Connection = Counted
    info = INFO.model_copy(update={"name": options.name})
    stub = cast(Any, StubModel(options.seconds, info=info))
    loaded = Loaded(pipeline=stub, batcher=stub)
    if options.batcher:
        loaded = through_batcher(info)
    cast(Any, serving).load = lambda *_: loaded
    address = serving.Address(host="127.0.0.1", port=options.port, admin_port=options.admin_port)
    served = serving.serve(
        parse(document(Path("/"), options.name)),
        cache=Path("/"),
        address=address,
        threads=1,
        linger_seconds=options.linger,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(served)


if __name__ == "__main__":
    main()

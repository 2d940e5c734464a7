"""The runtime as a process of its own whose encoder is a stub: all of it is real but the model.

A text gets a vector that was prepared, at once or after --seconds: what is left is what HTTP costs, and a
process that starts in a second for tests that end hundreds of them.
"""

import argparse
import asyncio
import cProfile
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from kubeembed_api.document import parse
from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.requests import Encoded, EncodeRequest, Output
from runtimekit import Process, document, free_ports

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
    """A Model of requests.py as far as embeddings need one."""

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


def launch_stub(folder: Path, *flags: str, before: Sequence[str] = ()) -> Process:
    """Not waited for. before: a command that runs it, such as taskset."""
    log, (port, admin_port) = folder / f"stub-{free_ports(1)[0]}.log", free_ports(2)
    command = [*before, sys.executable, __file__, "--port", str(port)]
    with log.open("wb") as out:
        popen = subprocess.Popen([*command, "--admin-port", str(admin_port), *flags], stderr=out)
    return Process(popen, port, admin_port, log)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--admin-port", type=int, required=True)
    parser.add_argument("--linger", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0, help="that each request takes")
    parser.add_argument("--profile", type=Path, help="where cProfile's statistics go")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    profile = cProfile.Profile() if options.profile else None
    if profile is not None:
        profile.enable()
    _serve(options)
    if profile is not None:
        profile.disable()
        profile.dump_stats(options.profile)


def _serve(options: argparse.Namespace) -> None:
    import uvloop

    from kubeembed_runtime import serving
    from kubeembed_runtime.loading import Loaded

    stub = StubModel(options.seconds)
    model = cast(Any, stub)
    cast(Any, serving).load = lambda *_: Loaded(pipeline=model, batcher=model)
    address = serving.Address(host="127.0.0.1", port=options.port, admin_port=options.admin_port)
    served = serving.serve(
        parse(document(Path("/"), NAME)),
        cache=Path("/"),
        address=address,
        threads=1,
        linger_seconds=options.linger,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(served)


if __name__ == "__main__":
    main()

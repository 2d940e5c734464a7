"""Requests at a steady rate, whatever becomes of them: half over kept connections, half over new ones."""

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np


@dataclass
class Steady:
    """A thread that asks `url` for `body` `rate` times a second from `go` until `rest`; no retries."""

    url: str
    body: dict[str, Any]
    rate: float = 20.0
    vectors: list[list[float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _going: threading.Event = field(default_factory=threading.Event)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Once what is on its way has been answered."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def go(self) -> None:
        self._going.set()

    def rest(self) -> None:
        self._going.clear()

    def nearest(self, vector: np.ndarray) -> float:
        """The least cosine of all answers to it."""
        return float(min(np.array(self.vectors) @ vector))

    async def _run(self) -> None:
        async with httpx.AsyncClient(timeout=120) as client, asyncio.TaskGroup() as group:
            for number in itertools.count():
                if self._end.is_set():
                    break
                if self._going.is_set():
                    group.create_task(self._ask(client, number))
                await asyncio.sleep(1 / self.rate)

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        headers = {"Connection": "close"} if number % 2 else {}
        begun = time.monotonic()
        try:
            answer = await client.post(f"{self.url}/v1/embeddings", json=self.body, headers=headers)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            self.failures.append(f"{number}: {error!r}")
            return
        self.seconds.append(time.monotonic() - begun)
        self.vectors.append(answer.json()["data"][0]["embedding"])

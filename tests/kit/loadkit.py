"""Requests at a fixed rate from a thread of their own, whatever the answers do: an open loop."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True)
class Answer:
    """status: 0 where there was no answer, and body says why. asked, done: when, of time.monotonic()."""

    model: str
    status: int
    body: Any
    asked: float = 0.0
    done: float = 0.0
    fingerprint: str = ""


@dataclass
class Load:
    """`models` may be changed at any time: what is asked for, in turn."""

    url: str
    text: str
    models: Sequence[str]
    rate: float
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)

    def since(self, moment: float) -> list[Answer]:
        """Answers to what was asked after that moment."""
        return [answer for answer in self.answers if answer.asked > moment]

    async def run(self, stop: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        begun, tasks = loop.time(), set()
        # A Service balances connections, not requests: each has its own.
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            for number in count():
                if stop.is_set():
                    break
                models = self.models
                task = asyncio.create_task(self._ask(session, models[number % len(models)]))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(begun + (number + 1) / self.rate - loop.time())
            await asyncio.gather(*tasks)

    async def _ask(self, session: aiohttp.ClientSession, model: str) -> None:
        body, asked = {"model": model, "input": self.text}, time.monotonic()
        try:
            url, headers = f"{self.url}/v1/embeddings", self.headers
            async with session.post(url, json=body, headers=headers) as got:
                told = await got.json()
                fingerprint = got.headers.get("X-KubeEmbed-Fingerprint", "")
                self._note(model, got.status, told, asked, fingerprint)
        except (aiohttp.ClientError, OSError) as error:
            self._note(model, 0, repr(error), asked)

    def _note(self, model: str, status: int, body: Any, asked: float, mark: str = "") -> None:
        self.answers.append(Answer(model, status, body, asked, time.monotonic(), mark))


@contextmanager
def load(
    url: str, text: str, models: Sequence[str], rate: float = 50, **headers: str
) -> Iterator[Load]:
    """Asks while the body runs; every request is answered when it is left. headers: with _ for -."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    made, stop = Load(url, text, models, rate, sent), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(made.run(stop)))
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join()

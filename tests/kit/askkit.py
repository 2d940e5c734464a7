"""Clients that ask a model all the time, and remember each answer and each failure."""

import json
import threading
import urllib.request
from dataclasses import dataclass, field
from typing import Any

TEXT = "A cat sleeps in the sun until somebody calls."


def embed(url: str, model: str = "sleepy") -> list[float]:
    """The vector of TEXT."""
    body = json.dumps({"model": model, "input": TEXT}).encode()
    headers = {"Content-Type": "application/json", "Connection": "close"}
    request = urllib.request.Request(f"{url}/v1/embeddings", body, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return list(json.load(answer)["data"][0]["embedding"])


@dataclass
class Clients:
    """So many that ask all the time, each time over a connection of its own."""

    url: str
    model: str = "sleepy"
    count: int = 4
    answers: list[list[float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Clients":
        for _ in range(self.count):
            self._threads.append(threading.Thread(target=self._ask))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(embed(self.url, self.model))
            except OSError as error:  # urllib's errors, refused and reset connections
                self.failures.append(f"{error} {getattr(error, 'code', '')}")

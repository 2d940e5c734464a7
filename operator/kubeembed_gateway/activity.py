"""Requests that pass through this gateway, by model: those in hand, and of them those that are held.

Between two looks the most of each is remembered, so that what is over in milliseconds is seen as well.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from kubeembed_gateway.reading import Key


@dataclass(slots=True)
class Passing:
    """Of one model; a context for one more request. most_in_hand, most_held, ended: since the last `take`."""

    in_hand: int = 0
    held: int = 0
    most_in_hand: int = 0
    most_held: int = 0
    ended: int = 0

    def __enter__(self) -> None:
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)

    def __exit__(self, *_: object) -> None:
        self.in_hand -= 1
        self.ended += 1


class Activity:
    """Counted by who serves, read by who tells."""

    def __init__(self) -> None:
        self._models: dict[Key, Passing] = {}

    def of(self, model: Key) -> Passing:
        """As it is now."""
        return self._models.get(model) or Passing()

    def request(self, model: Key) -> Passing:
        """A context from its head to the end of its answer."""
        passing = self._models.get(model)
        if passing is None:
            passing = self._models[model] = Passing()
        return passing

    @contextmanager
    def wait(self, model: Key) -> Iterator[None]:
        """Of a request, while it is held."""
        passing = self._models.setdefault(model, Passing())
        passing.held += 1
        passing.most_held = max(passing.most_held, passing.held)
        try:
            yield
        finally:
            passing.held -= 1

    def take(self, model: Key) -> Passing:
        """What has been since the last call, which is then begun anew."""
        now = self.of(model)
        taken = replace(now)
        now.most_in_hand, now.most_held, now.ended = now.in_hand, now.held, 0
        return taken

    def keep(self, models: Collection[Key]) -> None:
        """Forgets all models but these, and those with requests in hand."""
        self._models = {
            key: passing
            for key, passing in self._models.items()
            if key in models or passing.in_hand
        }

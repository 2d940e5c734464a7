"""One server over HTTP: texts -> vectors, a query and documents -> scores. Waits for a busy one."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx2
import msgspec
import numpy as np

from kubeembed_runtime.evaluation.contracts import (
    CONTRACTS,
    RERANK,
    Contract,
    Name,
    Side,
    rerank_body,
    scores,
)
from kubeembed_runtime.evaluation.errors import EndpointFailed
from kubeembed_runtime.precision import Floats

logger = logging.getLogger(__name__)

FINGERPRINT = "x-kubeembed-fingerprint"

#: A batch's texts have no more characters, and so no more tokens, than a request may have here.
BATCH_CHARACTERS = 250_000

#: A model that wakes from zero replicas, or loads, is waited for.
PATIENCE_SECONDS = 600.0
LARGEST_PAUSE = 30.0
BROKEN_PAUSES = (1.0, 5.0, 15.0)  # seconds before the second, third and fourth time

_TIMEOUT = httpx2.Timeout(600, connect=10)


class Endpoint:
    """Thread-safe. `url` is the server's, without a path of any contract. To be closed, or used in `with`."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        contract: Name = "cohere",
        key: str | None = None,
        transport: httpx2.BaseTransport | None = None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url, self.model = url.rstrip("/"), model
        self._marks: dict[str, None] = {}  # fingerprints, in the order in which they came
        self._contract: Contract = CONTRACTS[contract]
        self._wait = wait
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.Client(headers=headers, timeout=_TIMEOUT, transport=transport)

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    @property
    def fingerprint(self) -> str | None:
        """Of what has answered; None where it has not, or tells none."""
        return next(iter(self._marks), None)

    def embed(self, texts: Sequence[str], side: Side) -> Floats:
        """(texts, d) float32. Raises EndpointFailed."""
        url = self.url + self._contract.path
        response = self._asked(url, self._contract.body(self.model, texts, side))
        try:
            vectors = self._contract.vectors(response.content)
            found = np.stack(vectors)
        except ValueError as error:
            raise EndpointFailed(url, f"gave no embeddings: {error}") from error
        if len(found) != len(texts):
            raise EndpointFailed(url, f"gave {len(found)} vectors for {len(texts)} texts")
        if not np.isfinite(found).all():
            raise EndpointFailed(url, "gave a vector that has a number which is not finite")
        return found

    def rerank(self, query: str, documents: Sequence[str]) -> list[float]:
        """A score for each document, in their order. Raises EndpointFailed."""
        url = self.url + RERANK
        response = self._asked(url, rerank_body(self.model, query, documents))
        try:
            return scores(response.content, len(documents))
        except ValueError as error:
            raise EndpointFailed(url, f"gave no ranking: {error}") from error

    def _asked(self, url: str, body: dict[str, Any]) -> httpx2.Response:
        """A reply with 200. What breaks off is asked again a few times, a busy server for minutes."""
        broken, waited = iter(BROKEN_PAUSES), 0.0
        while True:
            try:
                response = self._client.post(url, json=body)
            except httpx2.ConnectError as error:
                raise EndpointFailed(url, f"cannot be reached: {error}") from error
            except httpx2.TransportError as error:
                pause = next(broken, None)
                if pause is None:
                    raise EndpointFailed(url, f"broke off: {error!r}") from error
                self._pause(pause, f"{url} broke off: {error!r}")
                continue
            if response.status_code == 200:
                self._check_mark(url, response)
                return response
            pause = _retry_after(response)
            if pause is None or waited > PATIENCE_SECONDS:
                raise EndpointFailed(url, _problem(response), response.status_code)
            waited += pause
            self._pause(pause, f"{url} is busy: {_problem(response)}")

    def _check_mark(self, url: str, response: httpx2.Response) -> None:
        """Figures of two models' vectors would be nobody's. Raises EndpointFailed."""
        mark = response.headers.get(FINGERPRINT)
        if mark:
            self._marks.setdefault(mark)
        if len(self._marks) > 1:
            told = " and ".join([*self._marks])
            way = "measure when its roll-out is over, or with one dtype in its recipe"
            raise EndpointFailed(url, f"answers by fingerprints {told}: {way}")

    def _pause(self, seconds: float, why: str) -> None:
        logger.warning("%s; asking again in %s s", why, seconds)
        self._wait(seconds)


def batches(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """In order; each of `size` texts or fewer, and of BATCH_CHARACTERS unless one text has more."""
    start, characters = 0, 0
    for place, text in enumerate(texts):
        full = place - start == size or characters + len(text) > BATCH_CHARACTERS
        if full and place > start:
            yield texts[start:place]
            start, characters = place, 0
        characters += len(text)
    if start < len(texts):
        yield texts[start:]


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds; None where asking again would not help: a 503 that names no time is not about load."""
    told = response.headers.get("retry-after", "1" if response.status_code == 429 else "")
    if response.status_code not in (429, 503) or not told:
        return None
    try:
        return min(max(float(told), 0.1), LARGEST_PAUSE)
    except ValueError:  # a date
        return LARGEST_PAUSE


class _Message(msgspec.Struct):
    message: str


class _Refusal(msgspec.Struct):
    """OpenAI's form has it in `error`, Cohere's at the top."""

    message: str | None = None
    error: _Message | None = None


def _problem(response: httpx2.Response) -> str:
    """What the server says of a failure, or how its body begins."""
    try:
        refusal = msgspec.json.decode(response.content, type=_Refusal)
    except msgspec.DecodeError:
        refusal = _Refusal()
    told = refusal.error.message if refusal.error else refusal.message
    return told or response.text[:200].strip() or response.reason_phrase

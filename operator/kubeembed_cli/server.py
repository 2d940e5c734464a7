"""A model's own server: what it serves, and texts -> vectors or scores, over any connection."""

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeembed_api.golden import Side, Vector, grouped, unpacked
from kubeembed_api.names import COMPONENT, HTTP_PORT, MODEL_LABEL, SERVING
from kubeembed_api.podreasons import ready
from kubeembed_cli.cluster import Cluster
from kubeembed_cli.errors import NotServing
from kubeembed_cli.gathering import find_model

Sparse = Mapping[int, float]

#: Cohere's words for the sides; without one, a text has the model's default prompt, if there is one.
INPUT_TYPES: Mapping[Side | None, str] = {
    "query": "search_query",
    "document": "search_document",
    None: "classification",
}
#: Texts of a request, and characters of them, so that they are no more tokens than a server takes at once.
BATCH, BATCH_CHARACTERS = 64, 250_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server says of its model. outputs: of "dense", "sparse", "multivector" and "score"."""

    name: str
    outputs: tuple[str, ...]
    prompts: tuple[str, ...]
    fingerprint: str


class Server:
    """One pod. name: the model's, or `model:adapter`. Methods raise NotServing."""

    def __init__(
        self, name: str, connection: Callable[[], http.client.HTTPConnection], key: str | None
    ) -> None:
        self.name = name
        self._connection = connection
        self._key = key

    def named(self, name: str) -> "Server":
        """The same pod, asked for another of its names."""
        return Server(name, self._connection, self._key)

    def about(self) -> Served:
        found = self._ask("GET", f"/v1/models/{self.name}")
        return Served(
            name=found["id"],
            outputs=tuple(found["outputs"]),
            prompts=tuple(found["kubeembed"]["prompts"]),
            fingerprint=found.get("fingerprint") or "",
        )

    def embed(self, texts: Sequence[str], side: Side | None) -> list[Vector]:
        """(dimensions,) float32 for each text, in their order."""
        vectors: list[Vector] = []
        for some in grouped(texts, len, BATCH, BATCH_CHARACTERS):
            body = {
                "model": self.name,
                "input_type": INPUT_TYPES[side],
                "texts": some,
                "embedding_types": ["base64"],
            }
            answer = self._ask("POST", "/v2/embed", body)
            vectors += map(unpacked, answer["embeddings"]["base64"])
        return vectors

    def embed_sparse(self, texts: Sequence[str], side: Side | None) -> list[Sparse]:
        """Weights by token id, for each text. Without a side, as a document."""
        params = {"output_types": ["sparse"], "options": {"is_query": side == "query"}}
        body = {"items": [{"text": text} for text in texts], "params": params}
        found = self._ask("POST", f"/v1/encode/{self.name}", body)["items"]
        sparse = (one["sparse"] for one in found)
        return [dict(zip(one["indices"], one["values"], strict=True)) for one in sparse]

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the query, by cross-encoder or MaxSim, whichever the model is."""
        body = {"model": self.name, "text_1": query, "text_2": list(texts)}
        return [float(one["score"]) for one in self._ask("POST", "/v1/score", body)["data"]]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        connection = self._connection()
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NotServing(f"{self.name} broke off at {path}: {error!r}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise NotServing(_problem(self.name, answer.status, text))
        return json.loads(text)


def serving(cluster: Cluster, name: str, key: str | None) -> Server:
    """The server of a model's ready pod. name: the model's, or `model:adapter`. Raises NotServing."""
    model, namespace = name.partition(":")[0], cluster.namespace
    find_model(cluster, model)
    selector = f"{MODEL_LABEL}={model},{COMPONENT}={SERVING}"
    pods = [pod for pod in cluster.list("pods", labelSelector=selector) if ready(pod)]
    if not pods:
        raise NotServing(f"{model} has no pod that is ready; `kubeembed why {model}` says why")
    pod = pods[0]["metadata"]["name"]
    return Server(name, lambda: cluster.tunnel(namespace, pod, HTTP_PORT), key)


def _problem(name: str, status: int, text: bytes) -> str:
    """Every contract has its own form of an error."""
    try:
        body = json.loads(text)
        told = body.get("message") or body.get("detail") or body.get("error")
        message = told.get("message") if isinstance(told, dict) else told
    except (ValueError, AttributeError):
        message = None
    way_out = (
        "; give a key of spec.serving.apiKeysSecret with --api-key-file" if status == 401 else ""
    )
    return f"{name} answered {status}: {message or text[:200].decode(errors='replace')}{way_out}"

"""The table -> what OpenAI's and SIE's clients ask of a server: its models, one of them, its health.

One reply for both: OpenAI's read `data`, with an entry for each name that a request may have; SIE's read
`models`, where adapters are profiles. A model that sleeps is listed like any other, with its state.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kubeembed_api.names import endpoint
from kubeembed_gateway.naming import public_name, resolve
from kubeembed_gateway.reading import Model
from kubeembed_gateway.table import State, Table

#: In SIE's words: one that sleeps can be had, one that starts is on its way.
SIE_STATES = {State.READY: "loaded", State.ASLEEP: "available", State.STARTING: "loading"}


def models(table: Table, chosen: Iterable[Model]) -> dict[str, Any]:
    """In the order of their names."""
    named = sorted((public_name(table, each.key), each) for each in chosen)
    cards = [
        _card(full, each)
        for name, each in named
        for full in (name, *(f"{name}:{adapter}" for adapter in each.adapters))
    ]
    return {
        "object": "list",
        "data": cards,
        "models": [_info(table, each, name) for name, each in named],
    }


def model(table: Table, asked: str) -> dict[str, Any]:
    """Raises Refused."""
    found, _ = resolve(table, asked)
    return {**_info(table, found, asked), **_card(asked, found)}


def health(table: Table, chosen: Iterable[Model]) -> dict[str, Any]:
    """As SIE's gateway says it: its workers are the ready pods, and a profile is their kind of machine."""
    workers = [
        {
            "name": pod.name,
            "url": f"http://{pod.host}:{pod.port}",
            "gpu": each.profile,
            "gpu_count": 1,
            "ready_gpu_slots": 1,
            "healthy": True,
            "loaded_models": [public_name(table, each.key)],
            "bundle": "default",
        }
        for each in chosen
        for pod in table.pods(each.key)
    ]
    return {
        "status": "healthy",
        "type": "gateway",
        "configured_gpu_types": sorted({each.profile for each in table.models.values()} - {""}),
        "live_gpu_types": sorted({str(worker["gpu"]) for worker in workers} - {""}),
        "cluster": {
            "worker_count": len(workers),
            "gpu_count": len(workers),
            "models_loaded": len({str(worker["loaded_models"]) for worker in workers}),
        },
        "workers": workers,
    }


def _card(name: str, model: Model) -> dict[str, Any]:
    """In OpenAI's words."""
    made = datetime.fromisoformat(model.created).timestamp() if model.created else 0
    return {"id": name, "object": "model", "owned_by": "kubeembed", "created": int(made)}


def _info(table: Table, model: Model, name: str) -> dict[str, Any]:
    """In SIE's words, and under `kubeembed` in our own."""
    state = table.state(model)
    lora = {adapter: {"is_default": False, "lora": adapter} for adapter in model.adapters}
    return {
        "name": name,
        "inputs": ["text"],
        "outputs": ["dense"] if model.dimensions else [],
        "dims": {"dense": model.dimensions} if model.dimensions else {},
        "loaded": state is State.READY,
        "state": SIE_STATES[state],
        "last_error": None,
        "max_sequence_length": model.max_tokens,
        "profiles": {"default": {"is_default": True}, **lora},
        "fingerprint": model.fingerprint,
        "kubeembed": {
            "namespace": model.namespace,
            "name": model.name,
            "state": str(state),
            "reason": model.reason,
            "readyPods": len(table.pods(model.key)),
            "startSeconds": model.start_seconds,
            "endpoint": endpoint(model.name, model.namespace),
        },
    }

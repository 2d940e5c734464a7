"""The table, what passes, and the last hour -> the JSON that the page draws, what needs a person first.

Pure: it says what this gateway knows, no more than `GET /v1/models` and the models' own status have.
"""

from dataclasses import dataclass
from typing import Any

from kubeembed_api.names import endpoint
from kubeembed_api.reasons import ON_THE_WAY, Reason
from kubeembed_api.remedies import explain
from kubeembed_gateway.activity import Activity
from kubeembed_gateway.history import MOST_MODELS, POINTS, STEP_SECONDS, History
from kubeembed_gateway.holding import Memory
from kubeembed_gateway.keys import Keys
from kubeembed_gateway.naming import public_name
from kubeembed_gateway.reading import Model
from kubeembed_gateway.table import State, Table
from kubeembed_gateway.told import Adapter

#: What needs a person comes first.
AMISS = "Amiss"
STANDINGS = (AMISS, State.STARTING, State.READY, State.ASLEEP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """`tell` at any time. gateway: the name of this pod; version: of its program."""

    gateway: str
    version: str
    table: Table
    activity: Activity
    history: History
    memory: Memory
    keys: Keys

    def tell(self) -> dict[str, Any]:
        models = sorted(
            (self._model(each) for each in self.table.models.values()),
            key=lambda each: (STANDINGS.index(each["standing"]), each["name"]),
        )
        return {
            "gateway": {"name": self.gateway, "version": self.version},
            "history": {
                "points": POINTS,
                "mostModels": MOST_MODELS,
                "stepSeconds": STEP_SECONDS,
                "until": self.history.until,
            },
            "sums": self._sums(models),
            "models": models,
        }

    def _sums(self, models: list[dict[str, Any]]) -> dict[str, Any]:
        standings = [each["standing"] for each in models]
        return {
            "models": len(models),
            "standings": {str(each): standings.count(each) for each in STANDINGS},
            "pods": sum(each["replicas"]["ready"] for each in models),
            "inHand": sum(each["load"]["inHand"] for each in models),
            "held": sum(each["load"]["held"] for each in models),
            "bodyBytes": self.memory.held,
            "bodyBytesMost": self.memory.most,
        }

    def _model(self, model: Model) -> dict[str, Any]:
        passing, told = self.activity.of(model.key), model.told
        return {
            "name": public_name(self.table, model.key),
            "namespace": model.namespace,
            "standing": self._standing(model),
            "state": str(self.table.state(model)),
            "trouble": trouble(model),
            "replicas": {"ready": len(self.table.pods(model.key)), "desired": told.desired},
            "load": {
                "inHand": passing.in_hand,
                "held": passing.held,
                "perSecond": self.history.per_second(model.key),
            },
            "start": dict(told.start),
            "adapters": [_adapter(each) for each in told.adapters],
            "endpoint": endpoint(model.name, model.namespace),
            "dimensions": model.dimensions,
            "keyed": model.keyed or self.keys.asks(model.key),
            "guarded": model.guarded,
            "history": self._hour(model),
        }

    def _standing(self, model: Model) -> str:
        told = model.told
        grave = not told.ready and told.reason not in ON_THE_WAY
        if grave or any(adapter_standing(each) == AMISS for each in told.adapters):
            return AMISS
        return self.table.state(model)

    def _hour(self, model: Model) -> dict[str, list[int]] | None:
        series = self.history.of(model.key)
        if series is None:
            return None
        return {
            "pods": list(series.pods),
            "inHand": list(series.in_hand),
            "held": list(series.held),
        }


def adapter_standing(adapter: Adapter) -> str:
    """State.READY once every pod has it, AMISS where a person has to do something, State.STARTING between."""
    if adapter.reason == Reason.LOADED:
        return State.READY
    return State.STARTING if adapter.reason in ON_THE_WAY else AMISS


def _adapter(adapter: Adapter) -> dict[str, str]:
    return {
        "name": adapter.name,
        "standing": adapter_standing(adapter),
        "ready": adapter.ready,
        "reason": adapter.reason,
        "message": adapter.message,
    }


def trouble(model: Model) -> dict[str, str] | None:
    """Why it is not Ready, and the way out; None where it is."""
    told = model.told
    if told.ready:
        return None
    explained = explain(told.reason, model.name)
    return {
        "reason": told.reason,
        "message": told.message,
        "happened": explained.happened,
        "wayOut": explained.way_out,
    }

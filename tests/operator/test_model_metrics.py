"""Models as Prometheus reads them: what the status says and no more, and nothing of models that are gone."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, generate_latest

from kubeembed_operator.kinds import MODEL, Manifest
from kubeembed_operator.modelmetrics import ModelFigures
from kubeembed_operator.store import Store

STATUS = {
    "conditions": [
        {"type": "Ready", "status": "False", "reason": "CrashLoop", "message": "its last words"},
        {"type": "WeightsReady", "status": "True", "reason": "Fetched", "message": ""},
    ],
    "replicas": {"desired": 2, "ready": 1},
    "adapters": [
        {"name": "legal", "reason": "Loaded"},
        {"name": "large", "reason": "AdapterRefused"},
        {"name": "new"},
    ],
    "lastColdStart": {"totalSeconds": 8.4, "loadSeconds": 2.3},
}


def told(store: Store) -> list[str]:
    registry = CollectorRegistry()
    registry.register(ModelFigures(store))
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_a_models_status_becomes_figures(document: Callable[..., Manifest]) -> None:
    store = Store()
    store.put(MODEL, {**document(), "status": STATUS})
    of = 'model="minilm",namespace="search"'
    assert told(store) == [
        f'kubeembed_model_condition{{condition="Ready",{of},reason="CrashLoop"}} 0.0',
        f'kubeembed_model_condition{{condition="WeightsReady",{of},reason="Fetched"}} 1.0',
        f"kubeembed_model_replicas{{{of}}} 2.0",
        f"kubeembed_model_ready_replicas{{{of}}} 1.0",
        f'kubeembed_adapter_loaded{{adapter="legal",{of},reason="Loaded"}} 1.0',
        f'kubeembed_adapter_loaded{{adapter="large",{of},reason="AdapterRefused"}} 0.0',
        f'kubeembed_adapter_loaded{{adapter="new",{of},reason="Pending"}} 0.0',
        f'kubeembed_cold_start_seconds{{{of},stage="total"}} 8.4',
        f'kubeembed_cold_start_seconds{{{of},stage="load"}} 2.3',
    ]
    gone = store.get(MODEL, ("search", "minilm"))
    assert gone is not None
    store.drop(MODEL, gone)
    assert told(store) == []


def test_a_model_that_was_never_looked_at_wants_nothing_yet(
    document: Callable[..., Manifest],
) -> None:
    store = Store()
    store.put(MODEL, document())
    of = 'model="minilm",namespace="search"'
    assert told(store) == [
        f"kubeembed_model_replicas{{{of}}} 0.0",
        f"kubeembed_model_ready_replicas{{{of}}} 0.0",
    ]

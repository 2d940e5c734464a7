"""What the page is told: models by how much they need a person, the last hour, and nothing without bounds."""

import json
from pathlib import Path
from typing import Any

import pytest

from gatewaykit import NAMESPACE, model, service, slice_of
from kubeembed_gateway.activity import Activity, Passing
from kubeembed_gateway.history import MOST_MODELS, POINTS, History
from kubeembed_gateway.holding import Memory
from kubeembed_gateway.keys import Keys
from kubeembed_gateway.overview import Overview
from kubeembed_gateway.table import MODELS, SERVICES, SLICES, Table
from kubeembed_gateway.told import Adapter, Told, read_told

KEY = (NAMESPACE, "minilm")
LEGAL = {"name": "legal", "source": "hf://a/b"}


def condition(kind: str, status: bool, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": str(status), "reason": reason, "message": message}


def ready(**more: Any) -> dict[str, Any]:
    return {"conditions": [condition("Ready", True, "Ready")], **more}


@pytest.fixture
def overview() -> Overview:
    return made(Keys())


def made(keys: Keys) -> Overview:
    """It knows nothing yet."""
    table, activity = Table(), Activity()
    history = History(table, activity, clock=lambda: 1000.0)
    return Overview(
        gateway="gateway-1",
        version="1.2.3",
        table=table,
        activity=activity,
        history=history,
        memory=Memory(64),
        keys=keys,
    )


def put(overview: Overview, name: str, pods: int = 0, **given: Any) -> None:
    overview.table.put(MODELS, model(name, **given))
    overview.table.put(SERVICES, service(name, 20_000 + len(overview.table.models)))
    overview.table.put(SLICES, slice_of(name, *((f"{name}-{n}", 8080) for n in range(pods))))


def test_a_model_is_told_whole(overview: Overview) -> None:
    status = ready(
        replicas={"desired": 2},
        model={"dimensions": 384},
        lastColdStart={"totalSeconds": 6.2, "loadSeconds": 0.5},
        adapters=[{"name": "legal", "ready": "1/2", "reason": "Loading", "message": "on its way"}],
    )
    put(overview, "minilm", 1, adapters=[LEGAL], serving={"apiKeysSecret": "k"}, status=status)
    with overview.activity.request(KEY), overview.activity.request(KEY):
        overview.history.sample()
        (told,) = overview.tell()["models"]
    assert told == {
        "name": "minilm",
        "namespace": NAMESPACE,
        "standing": "Ready",
        "state": "Ready",
        "trouble": None,
        "replicas": {"ready": 1, "desired": 2},
        "load": {"inHand": 2, "held": 0, "perSecond": 0.0},
        "start": {"totalSeconds": 6.2, "loadSeconds": 0.5},
        "adapters": [
            {
                "name": "legal",
                "standing": "Starting",
                "ready": "1/2",
                "reason": "Loading",
                "message": "on its way",
            }
        ],
        "endpoint": "http://minilm.search.svc",
        "dimensions": 384,
        "keyed": True,
        "guarded": False,
        "history": {"pods": [1], "inHand": [2], "held": [0]},
    }


def test_what_needs_a_person_comes_first_with_the_way_out(overview: Overview) -> None:
    put(overview, "alright", 1, status=ready())
    asleep = [condition("Ready", True, "Asleep"), condition("Asleep", True, "Asleep")]
    put(overview, "calm", status={"conditions": asleep})
    fetching = condition("Ready", False, "Fetching", "3 of 9 files")
    put(overview, "eager", status={"conditions": [fetching]})
    loop = condition("Ready", False, "CrashLoop", "its last words")
    put(overview, "zealous", 1, status={"conditions": [loop]})
    told = overview.tell()
    assert [(each["name"], each["standing"]) for each in told["models"]] == [
        ("zealous", "Amiss"),
        ("eager", "Starting"),
        ("alright", "Ready"),
        ("calm", "Asleep"),
    ]
    assert told["models"][0]["trouble"] == {
        "reason": "CrashLoop",
        "message": "its last words",
        "happened": "the container ends soon after its start",
        "wayOut": "the message has its last words",
    }
    assert told["models"][1]["trouble"]["wayOut"] == "wait"
    assert told["sums"] == {
        "models": 4,
        "standings": {"Amiss": 1, "Starting": 1, "Ready": 1, "Asleep": 1},
        "pods": 2,
        "inHand": 0,
        "held": 0,
        "bodyBytes": 0,
        "bodyBytesMost": 64,
    }


def test_an_adapter_that_is_refused_is_amiss_though_the_model_is_ready(overview: Overview) -> None:
    entry = {"name": "legal", "ready": "0/1", "reason": "AdapterRefused", "message": "rank 512"}
    put(overview, "minilm", 1, adapters=[LEGAL], status=ready(adapters=[entry]))
    (told,) = overview.tell()["models"]
    assert (told["standing"], told["trouble"]) == ("Amiss", None)
    assert told["adapters"] == [{**entry, "standing": "Amiss"}]


def test_a_model_whose_key_the_gateway_asks_for_says_so(tmp_path: Path) -> None:
    (tmp_path / NAMESPACE).write_text("sk-one\n")
    keyed = made(Keys(tmp_path))
    keyed.table.put(MODELS, model("minilm"))
    keyed.table.put(MODELS, model("bge", namespace="other"))
    assert {each["name"]: each["keyed"] for each in keyed.tell()["models"]} == {
        "minilm": True,
        "bge": False,
    }


def test_a_way_out_names_the_model(overview: Overview) -> None:
    put(overview, "minilm", status={"conditions": [condition("Ready", False, "NotReady")]})
    (told,) = overview.tell()["models"]
    assert told["trouble"]["wayOut"] == "`kubectl logs deployment/minilm`"


def test_a_model_that_no_operator_looked_at_says_so() -> None:
    assert read_told(model(adapters=[LEGAL])) == Told(
        reason="Pending",
        message="the operator has not looked at this model yet",
        adapters=(Adapter(name="legal", reason="Pending"),),
    )


def test_a_reason_of_a_newer_operator_is_shown_as_it_is(overview: Overview) -> None:
    newer = condition("Ready", False, "Eclipsed", "the moon is in the way")
    put(overview, "minilm", status={"conditions": [newer]})
    (told,) = overview.tell()["models"]
    assert (told["standing"], told["trouble"]["message"]) == ("Amiss", "the moon is in the way")
    assert "older than the operator" in told["trouble"]["wayOut"]


def test_what_is_over_between_two_samples_is_seen() -> None:
    activity = Activity()
    with activity.request(KEY), activity.wait(KEY), activity.request(KEY):
        pass
    assert activity.take(KEY) == Passing(0, 0, most_in_hand=2, most_held=1, ended=2)
    assert activity.take(KEY) == Passing()
    activity.keep([])
    assert activity.of(KEY) == Passing()


def test_requests_in_hand_of_a_model_that_is_gone_are_counted_to_their_end() -> None:
    activity = Activity()
    with activity.request(KEY):
        activity.keep([])
        assert activity.of(KEY).in_hand == 1
    assert activity.of(KEY).in_hand == 0


def test_an_hour_is_kept_and_no_more(overview: Overview) -> None:
    put(overview, "minilm", 1)
    for _ in range(POINTS + 5):
        with overview.activity.request(KEY):
            overview.history.sample()
    told = overview.tell()
    assert told["history"] == {
        "points": POINTS,
        "mostModels": MOST_MODELS,
        "stepSeconds": 10.0,
        "until": 1000.0,
    }
    assert told["models"][0]["history"] == {
        "pods": [1] * POINTS,
        "inHand": [1] * POINTS,
        "held": [0] * POINTS,
    }
    assert told["models"][0]["load"]["perSecond"] == 0.1


def test_the_hours_of_so_many_models_are_kept_and_those_of_models_that_are_gone_are_not(
    overview: Overview,
) -> None:
    for number in range(MOST_MODELS + 2):
        put(overview, f"m{number:03}")
    overview.history.sample()
    overview.history.sample()
    without = [each["name"] for each in overview.tell()["models"] if each["history"] is None]
    assert without == ["m200", "m201"]
    overview.table.drop(MODELS, (NAMESPACE, "m000"))
    overview.history.sample()
    hours = {each["name"]: each["history"] for each in overview.tell()["models"]}
    assert (len(hours["m200"]["pods"]), hours["m201"], "m000" in hours) == (1, None, False)
    assert len(json.dumps(overview.tell())) < 300_000

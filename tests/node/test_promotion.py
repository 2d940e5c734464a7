"""Two vector spaces side by side until a person says the word: no request fails, none is answered wrongly."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from adapterkit import Vectors, nearest
from kubeembed_api.golden import Golden, GoldenText, golden_config_map
from loadkit import Answer, Load, load
from nodekit import Hub, Kube, Manifest, embedding_model, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TEXT, RATE, PATIENCE = "the quick brown fox", 5, 300


@pytest.fixture(scope="module")
def vectors(weights: Path, revisions: dict[str, Path]) -> dict[str, Vectors]:
    """What TEXT has to be embedded to, by revision."""
    folders = {"main": weights, "far": revisions["far"]}
    return {
        name: SentenceTransformer(str(folder), device="cpu").encode([TEXT])[0]
        for name, folder in folders.items()
    }


@pytest.fixture(scope="module")
def url(shared_kube: Kube, hub: Hub) -> str:
    """Of a model that serves revision main."""
    hub.reset()
    shared_kube.apply(
        embedding_model(
            "m",
            model={"source": "hf://acme/other", "revision": "main"},
            recipe={"dtype": "float32"},
            rollout={"promote": "Manual"},
        )
    )
    shared_kube.wait_served("m", PATIENCE)
    return shared_kube.address("m")


def change(kube: Kube, revision: str) -> None:
    kube.patch("em", "m", {"spec": {"model": {"revision": revision}}})


def promote(kube: Kube, fingerprint: str) -> None:
    annotation = f"kubeembed.dev/promote={fingerprint}"
    kube.ctl("annotate", "em/m", annotation, "--overwrite")


def status(kube: Kube) -> Manifest:
    return dict(kube.get("em", "m")["status"])


def gone(kube: Kube) -> bool:
    kinds = "deployments,services,poddisruptionbudgets"
    names = {each["metadata"]["name"] for each in kube.list(kinds)}
    return "m-next" not in names and "next" not in status(kube)


@contextmanager
def asked(url: str, fingerprint: str) -> Iterator[tuple[Load, Load]]:
    """Two clients: one takes what comes, one is pinned to a vector space."""
    pinned = load(url, TEXT, ["m"], RATE, if_fingerprint_match=fingerprint)
    with load(url, TEXT, ["m"], RATE) as free, pinned as held:
        yield free, held


def whose(vectors: dict[str, Vectors], answers: list[Answer]) -> list[str]:
    """Whose vectors came, in the order of the questions. Raises AssertionError for one that failed."""
    failed = [(one.asked, one.status, one.body) for one in answers if one.status != 200]
    assert failed == []
    inorder = sorted(answers, key=lambda each: each.asked)
    return [nearest(vectors, each.body["data"][0]["embedding"]) for each in inorder]


def test_old_and_new_are_served_until_the_new_is_promoted(
    shared_kube: Kube, url: str, vectors: dict[str, Vectors]
) -> None:
    kube, before = shared_kube, status(shared_kube)["model"]
    with asked(url, before["fingerprint"]) as (free, pinned):
        change(kube, "far")
        told = kube.wait_reason("m", "Ready", "PromotionPending", PATIENCE)
        waiting = status(kube)
        following = waiting["next"]
        assert waiting["model"] == before
        assert following["endpoint"] == f"http://m-next.{kube.namespace}.svc"
        assert (following["ready"], following["dimensions"]) == ("1/1", 384)
        assert following["revision"] == waiting["weights"]["revision"] != before["revision"]
        assert told["message"].endswith(f"kubeembed.dev/promote={following['fingerprint']}")
        with load(kube.address("m-next"), TEXT, ["m"], RATE) as ahead:
            until("answers", lambda: len(ahead.answers) > RATE, 120)
        assert set(whose(vectors, ahead.answers)) == {"far"}
        assert set(whose(vectors, list(free.answers))) == {"main"}

        promote(kube, before["fingerprint"])
        until("a word on it", lambda: "is not theirs" in kube.condition("m")["message"], 60)
        assert status(kube)["model"] == before

        promote(kube, following["fingerprint"])
        kube.wait_ready("m", PATIENCE)
        until("next is gone", lambda: gone(kube), 120)
        done = time.monotonic()
        until("answers", lambda: len(free.since(done)) > 2 * RATE, 120)
    expected = {**before, **{name: following[name] for name in ("fingerprint", "revision")}}
    assert status(kube)["model"] == expected
    seen = whose(vectors, free.answers)
    assert set(seen[-RATE:]) == {"far"}
    assert {answer.status for answer in pinned.answers} == {200, 412}
    assert set(whose(vectors, [one for one in pinned.answers if one.status == 200])) == {"main"}
    assert {answer.status for answer in pinned.since(done)} == {412}


def test_a_change_that_is_taken_back_leaves_nothing(
    shared_kube: Kube, url: str, vectors: dict[str, Vectors]
) -> None:
    kube, before = shared_kube, status(shared_kube)["model"]
    with load(url, TEXT, ["m"], RATE) as asking:
        change(kube, "main")
        until("next", lambda: kube.get("deployment", "m-next"), PATIENCE)
        change(kube, "far")
        kube.wait_ready("m", PATIENCE)
        until("next is gone", lambda: gone(kube), 120)
    assert set(whose(vectors, asking.answers)) == {"far"}
    assert status(kube)["model"] == before


def test_next_pods_that_fail_golden_vectors_are_not_promoted(
    shared_kube: Kube, url: str, vectors: dict[str, Vectors]
) -> None:
    kube, before = shared_kube, status(shared_kube)["model"]
    text = GoldenText(text=TEXT, side=None, vector=tuple(vectors["far"].tolist()))
    golden = Golden(model="m", dimensions=384, fingerprint=before["fingerprint"], texts=(text,))
    kube.apply(golden_config_map(golden, "m-golden", kube.namespace))
    rollout = {"golden": {"configMap": "m-golden"}}
    with load(url, TEXT, ["m"], RATE) as asking:
        kube.patch("em", "m", {"spec": {"recipe": {"pooling": "cls"}, "rollout": rollout}})
        told = kube.wait_reason("m", "Ready", "GoldenMismatch", PATIENCE)
        refused = "m-next is not promoted, and m serves as before: 1 of 1 golden texts are below"
        assert told["message"].startswith(f"{refused} minCosine 0.999; the worst: line 1, ")
        assert kube.condition("m", "Available")["status"] == "True"
        assert "fingerprint" not in status(kube)["next"]
        kube.patch("em", "m", {"spec": {"recipe": {"pooling": None}, "rollout": {"golden": None}}})
        kube.wait_ready("m", PATIENCE)
        until("next is gone", lambda: gone(kube), 120)
    assert set(whose(vectors, asking.answers)) == {"far"}
    assert status(kube)["model"] == before

"""What `kubeembed cache ls` shows of the objects of a cluster, and what `cache rm` has the operator do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from evidencekit import NOW
from kubeembed_api.cachenotes import Note, annotation_of
from kubeembed_api.report import UnusedCopy
from kubeembed_cli.caching import as_json, told
from kubeembed_cli.cluster import Cluster
from kubeembed_cli.copies import CopyAt, Objects, Place, Use, places
from kubeembed_cli.errors import CommandFailed, InUse, StillThere
from kubeembed_cli.removing import chosen, remove

Manifest = dict[str, Any]
A, B, C, D = "a" * 32, "b" * 32, "c" * 32, "d" * 32
SECONDS = int(NOW.timestamp())
LABELS = {"app.kubernetes.io/managed-by": "kubeembed"}


def model(name: str, key: str | None = A, *, namespace: str = "search", **spec: Any) -> Manifest:
    adapters = spec.pop("served", [])
    copy = {"key": key, "bytes": 1_000_000, "revision": "c0ffee"}
    weights = {"weights": copy} if key else {}
    return {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": name, "namespace": namespace, "uid": name},
        "spec": {"model": {"source": "hf://acme/mini"}, **spec},
        "status": {"model": {"revision": "of its pods"}, "adapters": adapters, **weights},
    }


def claim(
    *notes: Note, name: str = "kubeembed-weights", asked: str = "", ours: bool = True
) -> Manifest:
    annotations = {annotation_of(note.node): note.write() for note in notes}
    return {
        "metadata": {
            "annotations": annotations | ({"kubeembed.dev/remove": asked} if asked else {}),
            "labels": LABELS if ours else {},
            "name": name,
            "namespace": "search",
            "uid": f"uid-{name}",
        }
    }


def pod(of: str, node: str, *, component: str = "serving", document: str = "") -> Manifest:
    labels = {"kubeembed.dev/model": of, "app.kubernetes.io/component": component}
    annotations = {"kubeembed.dev/document": document}
    head = {"name": f"{of}-{node}", "namespace": "search"}
    return {
        "metadata": {**head, "annotations": annotations, "labels": labels},
        "spec": {"nodeName": node},
    }


def found(*models: Manifest, claims: Sequence[Manifest], pods: Sequence[Manifest] = ()) -> Objects:
    return Objects(models=models, deployments=(), config_maps=(), pods=pods, claims=claims)


NOTED = Note(
    keys=frozenset({A, B}),
    decided=SECONDS - 600.0,
    copies=6,
    bytes=9_000_000,
    unused=4,
    unused_bytes=7_000_000,
    listed=(
        UnusedCopy(
            key=C,
            bytes=2_000_000,
            since=SECONDS - 7200,
            goes=SECONDS + 400_000,
            source="hf://acme/old",
            revision="beef",
        ),
        UnusedCopy(key=D, bytes=3_000_000),
    ),
)
LEGAL = {"adapters": [{"name": "legal", "source": "hf://acme/legal"}]}
SERVED = {"served": [{"name": "legal", "key": B, "revision": "fade"}]}


def test_each_copy_is_told_with_those_that_use_it_or_when_it_goes() -> None:
    [place] = places(found(model("one"), model("two", **LEGAL, **SERVED), claims=[claim(NOTED)]))
    both = (Use("one"), Use("two"))
    adapter = (Use("two", "adapter legal"),)
    assert place.copies == (
        CopyAt(key=A, bytes=1_000_000, source="hf://acme/mini", revision="c0ffee", uses=both),
        CopyAt(key=B, source="hf://acme/legal", revision="fade", uses=adapter),
        CopyAt(
            key=C,
            bytes=2_000_000,
            source="hf://acme/old",
            revision="beef",
            since=SECONDS - 7200,
            goes=SECONDS + 400_000,
        ),
        CopyAt(key=D, bytes=3_000_000),
    )
    assert place.unlisted == (2, 2_000_000)
    assert told(place, NOW).splitlines() == [
        "claim kubeembed-weights, namespace search: 6 copies, 9.0 MB, as of 10 min ago",
        f"  {A}    1.0 MB  hf://acme/mini at c0ffee",
        "    used by one, two",
        f"  {B}         ?  hf://acme/legal at fade",
        "    used by two (adapter legal)",
        f"  {C}    2.0 MB  hf://acme/old at beef",
        "    no model uses it, for 2 h; goes in 5 d",
        f"  {D}    3.0 MB",
        "    no model uses it",
        "  and 2 copies more that no model uses, of 2.0 MB",
    ]


def test_scripts_get_all_of_it() -> None:
    note = replace(NOTED, unused=2, unused_bytes=5_000_000)
    [place] = places(found(model("two", **LEGAL, **SERVED), claims=[claim(note)]))
    first, second, third, _ = as_json(place)["copies"]
    assert first == {
        "key": A,
        "source": "hf://acme/mini",
        "revision": "c0ffee",
        "bytes": 1_000_000,
        "models": [{"name": "two", "use": "weights"}],
        "unusedSince": None,
        "goesAt": None,
    }
    assert second["models"] == [{"name": "two", "use": "adapter legal"}]
    assert (third["unusedSince"], third["goesAt"]) == (
        "2026-01-01T10:00:00Z",
        "2026-01-06T03:06:40Z",
    )
    assert {name: value for name, value in as_json(place).items() if name != "copies"} == {
        "namespace": "search",
        "claim": "kubeembed-weights",
        "node": None,
        "cleared": True,
        "lookedAt": "2026-01-01T11:50:00Z",
        "unlisted": {"copies": 0, "bytes": 0},
    }


def test_a_claim_that_is_not_ours_is_told_where_a_model_uses_it() -> None:
    mine, other = claim(name="mine", ours=False), claim(name="other", ours=False)
    [place] = places(found(model("one", weights={"claim": "mine"}), claims=[mine, other]))
    assert (place.claim, place.cleared) == ("mine", False)
    assert "label the claim app.kubernetes.io/managed-by=kubeembed" in told(place, NOW)


def test_what_is_mounted_and_what_other_pods_read_is_in_use() -> None:
    mounts = model("mounts", None, model={"source": f"pvc://kubeembed-weights/{C}"})
    old = pod("one", "n1", document=f"key: {D}")
    [place] = places(found(model("one"), mounts, claims=[claim(NOTED)], pods=[old]))
    assert [(copy.key, copy.uses) for copy in place.copies[1:]] == [
        (C, (Use("mounts", "source"),)),
        (D, (Use("one", "other pods"),)),
        (B, ()),  # out of use, and not looked at since
    ]


def test_a_node_has_what_its_pods_use_and_what_was_left_there() -> None:
    notes = (replace(NOTED, node="n2"), Note(keys=frozenset({A}), node="n3"))
    cache = claim(*notes, name="kubeembed-node-weights")
    pods = [pod("one", "n1"), pod("one", "n2"), pod("one", "n4", component="weights")]
    on_nodes = places(found(model("one", weights={"cache": "Node"}), claims=[cache], pods=pods))
    assert [(place.node, [copy.key for copy in place.copies]) for place in on_nodes] == [
        ("n1", [A]),
        ("n2", [A, B, C, D]),
        ("n3", []),
    ]
    assert all(place.users == {A: ("one",)} for place in on_nodes)


def test_namespaces_are_told_apart() -> None:
    elsewhere = model("two", B, namespace="other")
    [place] = places(found(model("one"), elsewhere, claims=[claim()]))
    assert place.users == {A: ("one",)}


def test_the_beginning_of_a_key_is_enough_if_it_is_of_one() -> None:
    both = places(found(model("one"), model("two", "ab" * 16), claims=[claim()]))
    assert chosen(both, "ab", "search") == "ab" * 16
    with pytest.raises(CommandFailed, match=f"beginning of {A}, {'ab' * 16}: write more"):
        chosen(both, "a", "search")
    with pytest.raises(CommandFailed, match=f"no copy {C} in namespace search, which has {A}"):
        chosen(both, C, "search")
    more = places(found(claims=[claim(NOTED)]))
    assert chosen(more, "e" * 32, "search") == "e" * 32  # two are not named


class Claims:
    """An API server that has claims, and an operator behind it that does one thing at each wait."""

    namespace = "search"

    def __init__(self, *claims: Manifest, steps: Sequence[Callable[["Claims"], None]] = ()) -> None:
        self.claims = {each["metadata"]["name"]: each for each in claims}
        self.models: list[Manifest] = []
        self.applied: list[str | None] = []
        self._steps = iter(steps)

    def find(self, _: str, name: str) -> Manifest | None:
        return self.claims.get(name)

    def apply(self, manifest: Manifest) -> None:
        told = manifest["metadata"].get("annotations", {}).get("kubeembed.dev/remove")
        self.applied.append(told)
        annotations = self.claims[manifest["metadata"]["name"]]["metadata"]["annotations"]
        annotations.pop("kubeembed.dev/remove", None)
        annotations.update({"kubeembed.dev/remove": told} if told else {})

    def list(self, *_: Any, **__: Any) -> list[Manifest]:
        return []

    def waits(self) -> Iterator[None]:
        yield
        for step in self._steps:
            step(self)
            yield

    def note(self, **fields: Any) -> None:
        written = replace(NOTED, **fields).write()
        self.claims["kubeembed-weights"]["metadata"]["annotations"]["kubeembed.dev/cache"] = written

    def look(self) -> tuple[Place, ...]:
        return places(found(*self.models, claims=[*self.claims.values()]))

    def remove(self, key: str, tell: Callable[[str], None] = lambda _: None) -> tuple[Place, ...]:
        return remove(cast(Cluster, self), key, self.look, self.waits(), tell)


def test_a_copy_is_asked_for_and_waited_for_and_the_wish_taken_back() -> None:
    steps = (
        lambda it: it.note(asked=frozenset({C})),  # its lock was held
        lambda it: it.note(asked=frozenset({C}), listed=NOTED.listed[1:]),
    )
    cluster, said = Claims(claim(NOTED), steps=steps), list[str]()
    [place] = cluster.remove(C, said.append)
    assert place.claim == "kubeembed-weights"
    assert cluster.applied == [C, None]
    assert said == [
        f"asked the operator to remove {C} from claim kubeembed-weights",
        "waits for the operator",
    ]


def test_what_others_asked_for_stays_asked_for() -> None:
    steps = (lambda it: it.note(asked=frozenset({C, D}), listed=()),)
    cluster = Claims(claim(NOTED, asked=D), steps=steps)
    cluster.remove(C)
    assert cluster.applied == [f"{C} {D}", D]


def test_a_copy_in_use_is_refused_with_the_names_of_its_models() -> None:
    cluster = Claims(claim(NOTED))
    cluster.models = [model("one"), model("two")]
    with pytest.raises(InUse, match=f"{A} is in use by one, two: "):
        cluster.remove(A)
    assert cluster.applied == []


def test_a_model_that_comes_to_use_it_meanwhile_has_the_wish_taken_back() -> None:
    steps = (lambda it: it.models.append(model("new", C)),)
    cluster = Claims(claim(NOTED), steps=steps)
    with pytest.raises(InUse, match=f"{C} is in use by new: "):
        cluster.remove(C)
    assert cluster.applied == [C, None]


def test_where_it_takes_too_long_the_wish_stays() -> None:
    cluster = Claims(claim(NOTED))
    with pytest.raises(
        StillThere, match=r"still there: waits for the operator\. The operator goes on"
    ):
        cluster.remove(C)
    assert cluster.applied == [C]


def test_a_claim_that_the_operator_does_not_clear_is_not_asked_for() -> None:
    cluster = Claims(claim(NOTED, ours=False))
    with pytest.raises(
        CommandFailed, match="claim kubeembed-weights is not KubeEmbed's to clear: label it "
    ):
        cluster.remove(C)
    assert cluster.applied == []

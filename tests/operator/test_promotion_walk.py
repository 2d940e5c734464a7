"""Whatever happens in whatever order: nobody is answered in a space that no person has promoted.

A world of one model: changes, fetches, pods that start and a person's word come in any order, and between two
of them a pass may break off anywhere, as if the operator had been killed.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.names import API_VERSION, DOCUMENT_ANNOTATION, KIND, NEXT, PROMOTE_ANNOTATION
from kubeembed_api.report import RuntimeInfo
from kubeembed_operator.kinds import DEPLOYMENT, Manifest
from kubeembed_operator.observed import Observed, Serving
from kubeembed_operator.plan import plan
from kubeembed_operator.promotion import promotion_of
from kubeembed_operator.settings import Settings
from kubeembed_operator.weights import Recorded, Weights

SETTINGS = Settings.parse(
    {"images": {"runtime": "r:1", "control": "c:1"}, "profiles": {"cpu": {}}, "weights": {}}
)
KEYS = ("k1", "k2", "k3")
POD = {"metadata": {"uid": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


@dataclass
class World:
    """revision: of the document; fetched: its copy is there. word: of the annotation. own, coming: the
    Deployments. behind: the component that the model's Service points at."""

    revision: str = "k1"
    fetched: bool = True
    word: str = ""
    own: Manifest | None = None
    coming: Manifest | None = None
    behind: str = "serving"
    current: str | None = None

    @property
    def model(self) -> EmbeddingModel:
        annotations = {PROMOTE_ANNOTATION: self.word} if self.word else {}
        metadata = {"name": "m", "namespace": "n", "uid": "u", "annotations": annotations}
        spec = {"model": {"source": "hf://a/b", "revision": self.revision}}
        rollout = {"rollout": {"promote": "Manual"}}
        document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata}
        return parse({**document, "spec": spec | rollout})

    @property
    def weights(self) -> Weights:
        copy = Recorded(request="r", key=self.revision, revision=self.revision)
        return Weights(request="r", copy=copy if self.fetched else None)

    def look(self) -> Observed:
        service = {"spec": {"selector": {"app.kubernetes.io/component": self.behind}}}
        pods = (POD,) if ready(self.coming) else ()
        coming = Serving(deployment=self.coming, pods=pods)
        return Observed(deployment=self.own, service=service, next=coming)

    def reconcile(self, writes: int) -> None:
        """One pass, of which so many writes come to pass."""
        observed = self.look()
        infos = [info(self.coming)] if ready(self.coming) else []
        found = promotion_of(self.model, self.weights, observed, infos, self.current)
        made = plan(self.model, SETTINGS, observed, self.weights, promotion=found)
        deleted = [(None, manifest) for kind, manifest in made.delete if kind == DEPLOYMENT]
        applied = [(each["kind"], each) for each in made.apply]
        due = [each for each in (*deleted, *applied) if each[0] in (None, "Service", "Deployment")]
        for kind, manifest in due[:writes]:
            self.write(kind, manifest)
        answers = self.coming if self.look().switched else self.own
        self.current = key(answers) if ready(answers) else self.current

    def write(self, kind: str | None, manifest: Manifest) -> None:
        own = manifest["metadata"]["name"] == "m"
        if kind is None:
            assert self.behind != NEXT
            self.coming = None
        elif kind == "Service" and own:
            self.behind = manifest["spec"]["selector"]["app.kubernetes.io/component"]
            assert ready(self.own if self.behind != NEXT else self.coming) or self.current is None
        elif kind == "Deployment" and own:
            self.own = rolled(self.own, manifest)
        elif kind == "Deployment":
            self.coming = rolled(self.coming, manifest)


def rolled(live: Manifest | None, manifest: Manifest) -> Manifest:
    """Pods of the same template stay ready."""
    same = live is not None and key(live) == key(manifest)
    return {**manifest, "spec": {**manifest["spec"], "replicas": 1}} | started(same and ready(live))


def started(yes: bool) -> dict[str, Any]:
    counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": int(yes)}
    return {"status": {**counts, "readyReplicas": int(yes)}}


def ready(deployment: Manifest | None) -> bool:
    return bool(deployment and deployment["status"]["readyReplicas"])


def key(deployment: Manifest | None) -> str:
    """Of the weights, which are the vector space here, and the fingerprint as well."""
    assert deployment is not None
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    return next(each for each in KEYS if f"key: {each}\n" in annotations[DOCUMENT_ANNOTATION])


def info(deployment: Manifest | None) -> RuntimeInfo:
    told = {"name": "m", "dimensions": 8, "max_tokens": 8, "dtype": "float32", "device": "cpu"}
    return RuntimeInfo(**told, fingerprint=key(deployment))


def serves() -> World:
    world = World()
    world.reconcile(9)
    assert world.own is not None
    world.own |= started(True)
    world.reconcile(9)
    assert (world.current, world.coming) == ("k1", None)
    return world


#: What happens, and how much of the pass after it comes to pass.
EVENT = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(KEYS)),
    st.tuples(st.just("promote"), st.sampled_from((*KEYS, "what waits", "what waits"))),
    st.tuples(st.sampled_from(["fetched", "own", "next", "nothing"]), st.just("")),
)
STEPS = st.lists(st.tuples(EVENT, st.sampled_from([0, 1, 2, 9, 9, 9])), min_size=10, max_size=60)
Steps = list[tuple[tuple[str, str], int]]


def happen(world: World, event: str, told: str) -> None:
    if event == "change" and told != world.revision:
        world.revision, world.fetched = told, False
    elif event == "promote":
        world.word = world.revision if told == "what waits" else told
    elif event == "fetched":
        world.fetched = True
    elif event == "own" and world.own is not None:
        world.own |= started(True)
    elif event == "next" and world.coming is not None:
        world.coming |= started(True)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_nobody_gets_vectors_of_a_space_that_was_not_promoted(steps: Steps) -> None:
    world, promoted = serves(), {"k1"}
    for (event, told), writes in steps:
        happen(world, event, told)
        promoted.add(world.word)
        world.reconcile(writes)
        answers = world.coming if world.look().switched else world.own
        assert ready(answers)
        assert key(answers) in promoted


@settings(deadline=None)
@given(STEPS)
def test_the_end_is_what_the_document_says(steps: Steps) -> None:
    world = serves()
    for (event, told), writes in steps:
        happen(world, event, told)
        world.reconcile(writes)
    world.word = world.revision
    for _ in range(8):
        for event in ("fetched", "own", "next"):
            happen(world, event, "")
        world.reconcile(9)
    assert (key(world.own), world.coming, world.behind) == (world.revision, None, "serving")
    assert world.current == world.revision

"""Adapters by name: what is loaded, replaced, unloaded and refused while others are served."""

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from kubeembed_api.reasons import Reason
from kubeembed_runtime.adapters import Adapter, AdapterState, ToldGolden
from kubeembed_runtime.errors import AdapterDiffers, AdapterRefused, UnknownModel
from kubeembed_runtime.model import unloaded as unloaded_adapters
from kubeembed_runtime.model.adapters import REFUSED_SECONDS, LoraAdapters
from kubeembed_runtime.model.lora import LoraAdapter

ONE, TWO, BAD = Path("/one"), Path("/two"), Path("/bad")


def adapter(name: str, folder: Path, size: int = 100) -> LoraAdapter:
    flat, table = torch.zeros(size, dtype=torch.uint8), torch.zeros(0, dtype=torch.int32)
    return LoraAdapter(
        name=name,
        fingerprint=str(folder),
        base=None,
        layout=(),
        flat=flat,
        table=table,
        order={},
    )


class Loads:
    """Counts loads; `gate` holds them back, `begun` tells that one waits there."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()
        self.size = 100
        self._made: list[weakref.ref[LoraAdapter]] = []

    def living(self) -> list[str]:
        """The names of those that anybody holds."""
        return [one.name for made in self._made if (one := made()) is not None]

    def __call__(self, name: str, folder: Path) -> LoraAdapter:
        self.asked.append(name)
        self.begun.set()
        assert self.gate.wait(10)
        if folder == BAD:
            raise AdapterRefused("it is bad")
        made = adapter(name, folder, self.size)
        self._made.append(weakref.ref(made))
        return made


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def adapters(loads: Loads) -> LoraAdapters:
    return LoraAdapters(loads, model="small", max_bytes=350, max_loaded=10)


def loaded(adapters: LoraAdapters) -> list[str]:
    return [state.name for state in adapters.states if state.loaded is not None]


def test_what_was_put_is_found_and_listed(adapters: LoraAdapters) -> None:
    one = adapters.put("legal", ONE).result()
    assert adapters.find("legal") is one
    assert adapters.names == ("legal",)
    assert adapters.states == (AdapterState(name="legal", folder=ONE, loaded=one),)


def test_an_unknown_name_is_told_what_there_is(adapters: LoraAdapters) -> None:
    adapters.put("legal", ONE).result()
    with pytest.raises(UnknownModel) as refused:
        adapters.find("medical")
    said = "model 'small:medical' is not served here; have: small, small:legal"
    assert str(refused.value) == said
    with pytest.raises(UnknownModel, match=said):
        adapters.remove("medical").result()


def test_a_replaced_adapter_serves_whoever_holds_it(adapters: LoraAdapters) -> None:
    one = adapters.put("legal", ONE).result()
    two = adapters.put("legal", TWO).result()
    assert adapters.find("legal") is two
    assert (one.fingerprint, two.fingerprint) == ("/one", "/two")
    assert adapters.names == ("legal",)


def test_the_old_one_is_found_until_the_new_one_is_whole(
    adapters: LoraAdapters, loads: Loads
) -> None:
    one = adapters.put("legal", ONE).result()
    loads.gate.clear()
    loads.begun.clear()
    replacing = adapters.put("legal", TWO)
    assert loads.begun.wait(10)
    assert adapters.find("legal") is one
    loads.gate.set()
    two = replacing.result()
    assert adapters.find("legal") is two
    assert (one.fingerprint, two.fingerprint) == ("/one", "/two")


def test_a_refused_one_changes_nothing(adapters: LoraAdapters) -> None:
    one = adapters.put("legal", ONE).result()
    for name in ("legal", "medical"):
        said = f"adapter '{name}' cannot be served: it is bad"
        with pytest.raises(AdapterRefused, match=said):
            adapters.put(name, BAD).result()
    assert adapters.states == (AdapterState(name="legal", folder=ONE, loaded=one),)


class Proofs:
    """Refuses what lies in BAD's place for golden vectors, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bad = {TWO}

    def __call__(self, one: Adapter, golden: ToldGolden | None) -> None:
        self.asked.append(one.fingerprint)
        if Path(one.fingerprint) in self.bad:
            raise AdapterDiffers("it has cosine 0.5")


def test_what_has_other_vectors_than_it_should_never_gets_the_name(adapters: LoraAdapters) -> None:
    adapters.prove = proofs = Proofs()
    one = adapters.put("legal", ONE).result()
    with pytest.raises(AdapterDiffers, match="adapter 'legal' cannot be served: it has cosine"):
        adapters.put("legal", TWO).result()
    assert adapters.find("legal") is one
    assert adapters.states == (AdapterState(name="legal", folder=ONE, loaded=one),)
    assert proofs.asked == ["/one", "/two"]


def test_who_puts_the_same_again_waits_for_the_same_answer(
    adapters: LoraAdapters, loads: Loads
) -> None:
    """The operator gives up after some seconds, and asks again: a check may take minutes."""
    adapters.prove = proofs = Proofs()
    golden, other = (ToldGolden(lines=lines, min_cosine=0.9) for lines in ("one", "two"))
    loads.gate.clear()
    first = adapters.put("legal", TWO, golden)
    assert loads.begun.wait(10)
    again = [adapters.put("legal", TWO, golden) for _ in range(5)]
    changed = [adapters.put("legal", TWO, other), adapters.put("tax", TWO, other)]
    loads.gate.set()
    for one in (first, *again, *changed):
        with pytest.raises(AdapterDiffers):
            one.result(10)
    assert proofs.asked == ["/two"] * 3
    proofs.bad = set()  # what is over is no answer to who asks now
    assert adapters.put("tax", TWO, other).result(10).fingerprint == "/two"


def test_what_is_put_after_it_was_removed_is_there(adapters: LoraAdapters, loads: Loads) -> None:
    loads.gate.clear()
    adapters.put("legal", ONE)
    assert loads.begun.wait(10)
    removed = adapters.remove("legal")
    last = adapters.put("legal", ONE)
    loads.gate.set()
    removed.result(10)
    there = last.result(10)
    assert adapters.find("legal") is there


def test_what_was_declared_with_other_vectors_is_not_looked_at_for_each_request(
    adapters: LoraAdapters, loads: Loads
) -> None:
    adapters.prove = proofs = Proofs()
    adapters.declare("legal", TWO)
    found = adapters.find("legal")
    assert isinstance(found, Future)
    with pytest.raises(AdapterDiffers):
        found.result()
    for _ in range(2):
        with pytest.raises(AdapterDiffers, match="it has cosine"):
            adapters.find("legal")
    assert (loads.asked, proofs.asked) == (["legal"], ["/two"])
    [state] = adapters.states
    assert (state.reason, state.loaded) == (Reason.GOLDEN_MISMATCH, None)
    proofs.bad = set()
    two = adapters.put("legal", TWO).result()
    assert adapters.find("legal") is two


def test_what_was_good_once_is_not_proved_when_it_is_loaded_again(loads: Loads) -> None:
    adapters = LoraAdapters(loads, model="small", max_bytes=10_000, max_loaded=1)
    adapters.prove = proofs = Proofs()
    adapters.put("a", ONE).result()
    adapters.declare("b", ONE)
    for name in "baba":
        found = adapters.find(name)
        assert isinstance(found, Future)
        found.result()
    assert loads.asked == ["a", "b", "a", "b", "a"]
    assert proofs.asked == ["/one", "/one"]


def test_a_removed_one_is_unknown(adapters: LoraAdapters) -> None:
    adapters.put("legal", ONE).result()
    adapters.remove("legal").result()
    assert adapters.states == ()
    with pytest.raises(UnknownModel, match=r"have: small$"):
        adapters.find("legal")


def test_memory_ends_for_what_was_not_asked_for_longest(adapters: LoraAdapters) -> None:
    for name in "abc":
        adapters.put(name, ONE).result()
    adapters.find("a")
    adapters.put("d", ONE).result()
    assert loaded(adapters) == ["a", "c", "d"]
    assert adapters.names == ("a", "b", "c", "d")


def test_so_it_does_by_number(loads: Loads) -> None:
    adapters = LoraAdapters(loads, model="small", max_bytes=10_000, max_loaded=2)
    for name in "abc":
        adapters.put(name, ONE).result()
    assert loaded(adapters) == ["b", "c"]


def test_one_larger_than_all_may_be_is_refused_and_pushes_none_out(
    adapters: LoraAdapters, loads: Loads
) -> None:
    adapters.put("a", ONE).result()
    loads.size = 351
    with pytest.raises(AdapterRefused, match="it has 351 bytes; all adapters may take 350"):
        adapters.put("b", ONE).result()
    assert loaded(adapters) == ["a"]


def unloaded(adapters: LoraAdapters) -> None:
    """Four names, of which `a` has no tensors any more."""
    for name in "abcd":
        adapters.put(name, ONE).result()
    assert loaded(adapters) == ["b", "c", "d"]


def test_an_unloaded_one_is_loaded_once_for_all_who_ask(
    adapters: LoraAdapters, loads: Loads
) -> None:
    unloaded(adapters)
    loads.gate.clear()
    asked = [adapters.find("a") for _ in range(5)]
    assert all(isinstance(one, Future) for one in asked)
    assert len({id(one) for one in asked}) == 1
    loads.gate.set()
    assert asked[0].result() is adapters.find("a")
    assert loads.asked == ["a", "b", "c", "d", "a"]
    assert loaded(adapters) == ["a", "c", "d"]


def test_a_load_that_was_refused_is_tried_again_in_a_while(loads: Loads) -> None:
    now = [100.0]
    adapters = LoraAdapters(
        loads, model="small", max_bytes=350, max_loaded=10, clock=lambda: now[0]
    )
    adapters.declare("a", BAD)
    for later in (0, 1, REFUSED_SECONDS, 1):
        now[0] += later
        with pytest.raises(AdapterRefused, match="adapter 'a' cannot be served: it is bad"):
            adapters.find("a").result()
    assert loads.asked == ["a", "a"]
    adapters.put("a", ONE).result()
    assert adapters.find("a").fingerprint == "/one"


def test_a_load_that_failed_otherwise_is_tried_again_at_once(
    adapters: LoraAdapters, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    unloaded(adapters)
    monkeypatch.setattr(adapters, "_load", failing(OSError("the disk is away")))
    with pytest.raises(OSError, match="the disk is away"):
        adapters.find("a").result()
    monkeypatch.setattr(adapters, "_load", loads)
    assert adapters.find("a").result().fingerprint == "/one"


def failing(error: Exception) -> Callable[[str, Path], LoraAdapter]:
    def load(name: str, folder: Path) -> LoraAdapter:
        raise error

    return load


def test_what_was_refused_is_not_kept(adapters: LoraAdapters, loads: Loads) -> None:
    """Its traceback would hold the tensors for as long as the refusal is told."""
    adapters.prove = Proofs()
    adapters.declare("legal", TWO)
    with pytest.raises(AdapterDiffers):
        adapters.find("legal").result()
    gc.collect()
    assert loads.living() == []


def test_a_load_waits_while_requests_hold_as_much_as_may_be_loaded(
    adapters: LoraAdapters, loads: Loads
) -> None:
    held = [adapters.put(name, ONE).result() for name in "abcdefg"]
    assert loaded(adapters) == ["e", "f", "g"]
    asked = adapters.put("h", ONE)
    with pytest.raises(TimeoutError):
        asked.result(0.1)
    assert "h" not in loads.asked
    del held[0]
    assert asked.result(10).fingerprint == "/one"


def test_but_not_forever(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unloaded_adapters, "WAIT_SECONDS", 0.05)
    adapters = LoraAdapters(loads, model="small", max_bytes=10_000, max_loaded=1)
    held = [adapters.put(name, ONE).result() for name in "abcd"]
    assert loaded(adapters) == ["d"]
    assert [one.name for one in held] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "change",
    [lambda adapters: adapters.remove("a"), lambda adapters: adapters.put("a", TWO)],
    ids=["removed", "replaced"],
)
def test_a_load_that_ends_too_late_serves_its_request_and_no_other(
    adapters: LoraAdapters, loads: Loads, change: Callable[[LoraAdapters], object]
) -> None:
    unloaded(adapters)
    loads.gate.clear()
    asked = adapters.find("a")
    changed = change(adapters)
    loads.gate.set()
    assert asked.result().fingerprint == "/one"
    changed.result()
    assert [s.loaded.fingerprint for s in adapters.states if s.name == "a"] in ([], ["/two"])


def test_from_many_threads_every_find_is_whole(adapters: LoraAdapters) -> None:
    def live(seed: int) -> list[str]:
        found = []
        for turn in range(200):
            name = "abcde"[(seed + turn) % 5]
            adapters.put(name, (ONE, TWO)[turn % 2]).result()
            try:
                one = adapters.find("abcde"[turn % 5])
                found.append((one.result() if isinstance(one, Future) else one).fingerprint)
            except UnknownModel:
                pass
            if turn % 7 == 0:
                adapters.remove(name)
        return found

    with ThreadPoolExecutor(4) as threads:
        found = [one for seen in threads.map(live, range(4)) for one in seen]
    assert set(found) == {"/one", "/two"}
    assert sum(state.loaded.bytes for state in adapters.states if state.loaded) <= 350

"""A pod is held to the golden vectors that its roll-out is meant to be held to, whatever lies beside it."""

import json
import threading
from pathlib import Path

import pytest

from fakekit import FakeModel
from kubeembed_api.golden import Digests, digests, packed
from kubeembed_api.reasons import Reason
from kubeembed_runtime import goldenfiles
from kubeembed_runtime.adapters import AdapterState
from kubeembed_runtime.errors import AdapterUnproven, StartFailed
from kubeembed_runtime.golden import check
from kubeembed_runtime.goldenfiles import Golden, adapter_texts, read, told_texts

BASE, LEGAL = "golden.jsonl", "golden.legal.jsonl"


def line(said: str) -> str:
    return json.dumps({"text": said, "vector": packed((2.0, 2.0, 2.0))}) + "\n"


def write(folder: Path, **lines: str) -> Digests:
    """Into the files of base and legal; the digests of what lies there then."""
    names = {"base": BASE, "legal": LEGAL}
    for key, text in lines.items():
        (folder / names[key]).write_bytes(text.encode())
    there = {name: (folder / name).read_bytes().decode() for name in names.values()}
    return digests(there)


def test_a_digest_is_of_golden_vectors_alone_and_byte_by_byte(tmp_path: Path) -> None:
    data = {BASE: line("a\r"), LEGAL: line("b")}
    meant = write(tmp_path, base=data[BASE], legal=data[LEGAL])
    (tmp_path / "notes.txt").write_text("other files don't count")
    assert digests(data | {"notes.txt": "nor do keys"}) == meant
    read(tmp_path / BASE, 0.9, meant=meant, rolled_out=tmp_path / "absent", wait=0)
    others = [digests({**data, LEGAL: ""}), digests({BASE: data[BASE]}), digests({})]
    assert {each.every for each in others} & {meant.every} == set()
    assert [each.base == meant.base for each in others] == [True, True, False]


def test_a_pod_waits_for_the_vectors_that_kubelet_has_not_brought_yet(tmp_path: Path) -> None:
    meant = write(tmp_path, base=line("new"), legal=line("new"))
    write(tmp_path, base=line("old"))
    late = threading.Timer(0.2, lambda: write(tmp_path, base=line("new")))
    late.start()
    found = read(tmp_path / BASE, 0.9, meant=meant, rolled_out=tmp_path / "absent", wait=60)
    late.join()
    assert [one.text for one in found.texts] == ["new"]


@pytest.mark.parametrize("file", ["base", "legal"])
def test_it_is_never_held_to_others(tmp_path: Path, file: str) -> None:
    meant = write(tmp_path, base=line("a"), legal=line("a"))
    write(tmp_path, **{file: line("b")})
    with pytest.raises(StartFailed) as failed:
        read(tmp_path / BASE, 0.9, meant=meant, rolled_out=tmp_path / "absent", wait=0)
    assert failed.value.reason is Reason.GOLDEN_UNREADABLE
    assert f"{tmp_path} holds others than the operator read" in failed.value.message


def test_a_pod_of_what_was_rolled_out_starts_also_when_its_vectors_are_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    through, meant = tmp_path / "through", write(tmp_path, base=line("a"), legal=line("a"))
    through.touch()
    write(tmp_path, legal=line("b"))
    assert len(read(tmp_path / BASE, 0.9, meant=meant, rolled_out=through).texts) == 1
    write(tmp_path, base=line("b"))
    assert read(tmp_path / BASE, 0.9, meant=meant, rolled_out=through).texts == ()
    assert "vectors are not compared: " in caplog.text
    (tmp_path / BASE).unlink()
    assert read(tmp_path / BASE, 0.9, meant=meant, rolled_out=through).texts == ()


@pytest.mark.parametrize("least", [float("nan"), 0.0, -1.0, 1.001, float("inf")])
def test_a_least_cosine_that_refuses_nothing_or_all_is_refused(
    tmp_path: Path, least: float
) -> None:
    write_base(tmp_path)
    with pytest.raises(StartFailed, match=r"--min-cosine is .*; write a number above 0"):
        read(tmp_path / BASE, least)
    assert read(tmp_path / BASE, 1.0).min_cosine == 1.0


def write_base(folder: Path) -> None:
    (folder / BASE).write_text(line("a"))


def test_what_is_read_is_what_was_seen_whatever_kubelet_brings_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = write(tmp_path, base=line("a"), legal=line("a"))

    def seen(data: dict[str, str]) -> Digests:
        found = digests(data)
        write(tmp_path, base=line("b"), legal=line("b"))
        return found

    monkeypatch.setattr(goldenfiles, "digests", seen)
    through = tmp_path / "through"
    found = read(tmp_path / BASE, 0.9, meant=meant, rolled_out=through)
    assert [one.text for one in found.texts] == ["a"]
    assert [one.text for one in adapter_texts(found, "legal")] == ["a"]
    assert (found.holds("legal"), found.holds("tax")) == (True, False)
    through.touch()  # from now on what there is counts
    assert [one.text for one in adapter_texts(found, "legal")] == ["b"]
    (tmp_path / LEGAL).unlink()
    assert (adapter_texts(found, "legal"), found.holds("legal")) == ((), False)


def test_a_file_that_goes_while_it_is_looked_at_is_none(tmp_path: Path) -> None:
    write_base(tmp_path)
    meant = digests({BASE: line("a")})
    (tmp_path / LEGAL).symlink_to(tmp_path / "gone")
    found = read(tmp_path / BASE, 0.9, meant=meant, rolled_out=tmp_path / "absent")
    assert len(found.texts) == 1


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_base(tmp_path)
    (tmp_path / LEGAL).mkdir()
    with pytest.raises(StartFailed, match=f"{LEGAL}: ") as failed:
        read(tmp_path / BASE, 0.9, meant=digests({}), rolled_out=tmp_path / "absent", wait=0)
    assert failed.value.reason is Reason.GOLDEN_UNREADABLE


def test_an_adapter_s_key_without_texts_is_not_as_if_there_were_none(tmp_path: Path) -> None:
    golden = Golden(path=tmp_path / BASE, texts=(), min_cosine=0.9)
    (tmp_path / LEGAL).write_text("")
    for read_them in (lambda: told_texts("\n", "legal"), lambda: adapter_texts(golden, "legal")):
        with pytest.raises(
            AdapterUnproven, match=r"golden\.legal\.jsonl holds no texts; `kubeembed"
        ):
            read_them()


def test_lines_that_come_with_an_adapter_are_read_or_named(tmp_path: Path) -> None:
    assert [one.text for one in told_texts(line("a"), "legal")] == ["a"]
    assert told_texts("", "legal") == ()
    with pytest.raises(AdapterUnproven, match=r"golden\.legal\.jsonl, line 2: "):
        told_texts(line("a") + "no json", "legal")
    golden = Golden(path=tmp_path / BASE, texts=(), min_cosine=0.9)
    assert adapter_texts(golden, "legal") == ()
    assert not golden.rolls_out


SAID = "adapter 'legal' cannot be served: 1 of 1 golden texts are below minCosine 0.9"


def amiss(reason: Reason, name: str = "legal") -> AdapterState:
    return AdapterState(name=name, folder=Path("/one"), loaded=None, problem=SAID, reason=reason)


@pytest.fixture
def golden(tmp_path: Path) -> Golden:
    """Of a pod of a roll-out, whose adapter legal has golden vectors."""
    write(tmp_path, base=line("a"), legal=line("a"))
    through = tmp_path / "through"
    return Golden(path=tmp_path / BASE, texts=(), min_cosine=0.9, rolled_out=through)


class Registry:
    """Adapters as they were loaded."""

    def __init__(self, *states: AdapterState) -> None:
        self.states = states


@pytest.mark.parametrize(
    "reason", [Reason.GOLDEN_MISMATCH, Reason.GOLDEN_UNREADABLE, Reason.ADAPTER_REFUSED]
)
async def test_a_roll_out_stops_for_an_adapter_that_cannot_be_served(
    fake_model: FakeModel, golden: Golden, reason: Reason
) -> None:
    fake_model.registry = Registry(amiss(reason))  # type: ignore[assignment]
    with pytest.raises(StartFailed) as failed:
        await check(fake_model, golden)
    assert failed.value.reason is reason
    assert failed.value.message == f"{SAID}. This pod takes no requests, so its roll-out stops"


async def test_the_others_that_cannot_be_served_are_named(
    fake_model: FakeModel, golden: Golden, tmp_path: Path
) -> None:
    (tmp_path / "golden.tax.jsonl").write_text(line("a"))
    two = (amiss(Reason.GOLDEN_MISMATCH), amiss(Reason.GOLDEN_MISMATCH, "tax"))
    fake_model.registry = Registry(*two)  # type: ignore[assignment]
    with pytest.raises(StartFailed, match=r"Nor can tax\. This pod takes no"):
        await check(fake_model, golden)


async def test_what_is_no_fault_of_a_roll_out_does_not_stop_it(
    fake_model: FakeModel, golden: Golden, tmp_path: Path
) -> None:
    """Without golden vectors of its own, not fetched, or in a pod that comes after the roll-out."""
    states = amiss(Reason.GOLDEN_MISMATCH, "tax"), amiss(Reason.WEIGHTS_MISSING)
    fake_model.registry = Registry(*states)  # type: ignore[assignment]
    await check(fake_model, golden)
    fake_model.registry = Registry(amiss(Reason.GOLDEN_MISMATCH))  # type: ignore[assignment]
    (tmp_path / "through").touch()
    await check(fake_model, golden)

"""Copies that no model uses: marked, removed, revived, and killed in the middle of it."""

import math
import mmap
import os
import shutil
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from hub_server import Hub
from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.reasons import Reason
from kubeembed_api.report import CacheReport, Report, UnusedCopy
from kubeembed_weights import fetch, open_copy
from kubeembed_weights.cache import Cache
from kubeembed_weights.collecting import REMOVED, SKEW, Decision, collect
from kubeembed_weights.copies import Manifest, Stored
from weightskit import (
    SOURCE,
    TOTAL,
    WEIGHTS,
    Command,
    document,
    eventually,
    model,
    on_disk,
    refused,
    write_model,
)

Environ = dict[str, str]
TTL = 100.0
SOURCES = ("hf://acme/mini", "hf://acme/midi", "hf://acme/maxi")

#: `kubeembed-weights` that stops itself before it deletes the second file of what it removes.
STOPS = """
import os, runpy, signal, sys
seen = []
def hook(event, args):
    if event == "os.remove" and args[1] != -1:
        seen.append(args)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGSTOP)
sys.addaudithook(hook)
sys.argv = sys.argv[3:]
runpy.run_module("kubeembed_weights", run_name="__main__")
"""


@pytest.fixture
def cache(hub: Hub, root: Path, environ: Environ) -> Cache:
    """Three copies, which a fetch asked for an hour ago."""
    for seed, source in enumerate(SOURCES[1:], 1):
        hub.repositories.add(source.removeprefix("hf://"), write_model(root / f"../{seed}", seed))
    made = Cache(root)
    for source in SOURCES:
        fetch(model(source), root, environ=environ)
    for key in made.entries():
        long_ago(made, key)
    return made


def capacity(count: int) -> dict[str, Any]:
    return {"weights": {"capacity": count}}


def bounded(source: str, count: int) -> EmbeddingModel:
    return parse(document(source, status=capacity(count)))


def long_ago(cache: Cache, key: str) -> None:
    then = time.time() - 3600
    os.utime(cache.root / ".locks" / key, (then, then))


def key_of(source: str, cache: Cache, environ: Environ) -> str:
    return fetch(model(source), cache.root, environ=environ).key


def collected(
    cache: Cache, keep: list[str], now: float, ttl: float = TTL, remove: Collection[str] = ()
) -> CacheReport:
    return collect(cache, Decision(keep=keep, ttl=ttl, decided=now, remove=remove), now)


def unused(cache: Cache, key: str, since: float | None, goes: float | None) -> UnusedCopy:
    """As the list has it of a copy that is whole."""
    manifest = cache.manifest(key)
    assert manifest is not None
    return UnusedCopy(
        key=key,
        bytes=cache.bytes_of(key),
        since=None if since is None else int(since),
        goes=None if goes is None else int(goes),
        source=manifest.source,
        revision=manifest.revision,
    )


def test_ten_models_of_three_sources_leave_what_the_eleventh_uses(
    hub: Hub, cache: Cache, environ: Environ
) -> None:
    copies = {key_of(SOURCES[number % 3], cache, environ) for number in range(10)}
    assert sorted(copies) == cache.entries()
    assert hub.log.sent("/acme/*") + hub.log.sent("/_cdn/*") == 3 * TOTAL
    kept, *others = sorted(copies)
    gone = time.time() + 2 * SKEW
    assert collected(cache, [kept], gone) == CacheReport(
        copies=3,
        bytes=sum(map(cache.bytes_of, copies)),
        unused=2,
        unused_bytes=sum(map(cache.bytes_of, others)),
        next_seconds=TTL,
        listed=tuple(unused(cache, key, gone, gone + TTL) for key in others),
    )
    assert cache.entries() == sorted(copies)
    late = collected(cache, [kept], gone + TTL)
    assert (late.copies, late.unused, sorted(late.removed)) == (1, 0, others)
    assert cache.entries() == [kept]
    collected(cache, [], gone + TTL)
    assert collected(cache, [], gone + 2 * TTL).removed == (kept,)
    assert [path.name for path in cache.root.iterdir() if path.name[0] != "."] == []
    assert list((cache.root / ".removed").iterdir()) == []


def test_a_key_in_use_loses_its_mark(cache: Cache) -> None:
    now = time.time()
    [first, *_] = cache.entries()
    collected(cache, [], now)
    assert cache.uses.unused_since(first) == pytest.approx(now)
    collected(cache, cache.entries(), now)
    assert cache.uses.unused() == []
    assert collected(cache, [], now + TTL).removed == ()


def test_a_model_that_comes_back_after_the_decision_keeps_its_copy(
    hub: Hub, cache: Cache, environ: Environ
) -> None:
    decided = time.time()
    collected(cache, [], decided)
    sent = hub.log.sent("/*")
    back = key_of(SOURCE, cache, environ)  # between the decision and its being carried out
    found = collect(cache, Decision(keep=[], ttl=TTL, decided=decided), decided + TTL)
    assert cache.entries() == [back]
    assert found.next_seconds == SKEW
    assert hub.log.sent("/_cdn/*") <= sent
    assert cache.uses.unused() == []


def test_what_somebody_wants_gone_goes_before_its_time_unless_it_is_in_use(cache: Cache) -> None:
    kept, goes, stays = cache.entries()
    now = time.time()
    found = collected(cache, [kept], now, remove=[kept, goes])
    assert cache.entries() == [kept, stays]
    assert (found.removed, found.unused) == ((goes,), 1)
    assert found.listed == (unused(cache, stays, now, now + TTL),)


def test_what_somebody_wants_gone_and_cannot_go_yet_is_listed_first(cache: Cache) -> None:
    first, second, last = cache.entries()
    now = time.time()
    with Cache(cache.root).lock(last):
        found = collected(cache, [], now, remove=[last])
    assert [copy.key for copy in found.listed] == [last, first, second]
    assert found.listed[0] == unused(cache, last, None, None)
    assert found.next_seconds == SKEW


def test_without_an_end_of_their_time_copies_stay_and_no_fetch_takes_their_room(
    cache: Cache,
) -> None:
    kept, *others = cache.entries()
    now = time.time()
    collected(cache, [], now)
    assert sorted(cache.uses.unused()) == [kept, *others]
    found = collected(cache, [kept], now + 10 * TTL, ttl=math.inf)
    assert cache.uses.unused() == []
    assert (found.copies, found.unused, found.removed, found.next_seconds) == (3, 2, (), None)
    assert found.listed == tuple(unused(cache, key, None, None) for key in others)


def test_the_last_word_is_never_longer_than_what_kubelet_keeps(root: Path) -> None:
    cache = Cache(root)
    keys = [f"{number:032x}" for number in range(60)]
    for key in keys:
        files = {"model.safetensors": Stored(size=0, sha256="0" * 64)}
        (cache.partial(key) / "model.safetensors").touch()
        with cache.lock(key):
            cache.commit(key, Manifest(source="hf://a" + "b" * 90, revision="c" * 40, files=files))
        long_ago(cache, key)
    now = time.time()
    some = collected(cache, [], now)
    assert (some.unused, len(some.listed)) == (60, 9)
    assert [copy.key for copy in some.listed] == keys[:9]
    gone = collected(cache, keys[30:], now + TTL)
    assert (gone.copies, len(gone.removed)) == (30, REMOVED)
    for found in (some, gone):
        told = Report(reason=Reason.COLLECTED, cache=found)
        assert len(told.model_dump_json(by_alias=True, exclude_none=True)) < 4096


def test_a_copy_whose_lock_is_held_stays(cache: Cache) -> None:
    [first, *others] = cache.entries()
    now = time.time()
    collected(cache, [], now)
    with Cache(cache.root).lock(first):
        long_ago(cache, first)
        assert sorted(collected(cache, [], now + TTL).removed) == others
    assert cache.entries() == [first]


def test_who_has_a_copy_open_keeps_it(cache: Cache) -> None:
    [first, *_] = cache.entries()
    with (open_copy(cache.root, first) / WEIGHTS).open("rb") as file:
        before = (cache.root / first / WEIGHTS).read_bytes()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert first in collected(cache, [], time.time(), ttl=0).removed
            assert mapped[:] == before
    assert not (cache.root / first).exists()


def test_a_download_that_nobody_continues_goes(
    hub: Hub, command: Command, root: Path, environ: Environ
) -> None:
    hub.fault(path=f"*{WEIGHTS}", count=1, stall=1_000_000)
    process = command.fetch(root)
    eventually(lambda: on_disk(root) > 1_000_000, "a third of the weights")
    cache = Cache(root)
    [key] = cache.entries()
    long_ago(cache, key)
    assert collected(cache, [], time.time(), ttl=0).removed == ()  # it is being fetched
    process.kill()
    process.wait()
    assert collected(cache, [], time.time(), ttl=0).removed == (key,)
    assert on_disk(root) == 0


def test_killed_in_the_middle_it_leaves_no_half_of_a_copy(
    cache: Cache, command: Command, environ: Environ
) -> None:
    words = ("--root", cache.root, "--ttl", "0", "--keep")
    process = command.run("collect", *words, before=[sys.executable, "-c", STOPS])
    eventually(lambda: stopped(process.pid), "it stands before its second file")
    [tomb] = (cache.root / ".removed").iterdir()
    key = tomb.name.partition(".")[0]
    assert Cache(cache.root).find(key) is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((cache.root / ".removed").iterdir()) == [tomb]
    again = command.end(command.run("collect", *words))
    assert again.code == 0
    assert again.report["reason"] == "Collected"
    assert len(again.report["cache"].pop("removed")) == 2
    told = {"copies": 0, "bytes": 0, "unused": 0, "unusedBytes": 0, "listed": []}
    assert again.report["cache"] == told
    assert list((cache.root / ".removed").iterdir()) == []
    assert fetch(model(), cache.root, environ=environ).fetched_bytes == TOTAL


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--ttl", "0"), "--keep"),
        (("--ttl", "0", "--keep", "../x"), "'../x' is no key of a copy: 32 hex digits"),
        (
            ("--ttl", "0", "--keep", "--remove", "../x"),
            "'../x' is no key of a copy: 32 hex digits",
        ),
    ],
    ids=["nothing to keep is said, not left out", "no key", "no key to remove"],
)
def test_it_removes_nothing_it_was_not_told_of(
    cache: Cache, command: Command, words: tuple[str, ...], told: str
) -> None:
    process = command.run("collect", "--root", cache.root, *words)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 2
    assert told in log
    assert len(cache.entries()) == 3


def test_a_fetch_without_room_removes_the_longest_unused_and_no_more(
    hub: Hub, small_disk: Path, environ: Environ
) -> None:
    noise = small_disk.parent
    for seed, name in enumerate(("one", "two")):
        folder = write_model(noise / name, seed)
        (folder / WEIGHTS).write_bytes(bytes(500_000))
        hub.repositories.add(f"acme/{name}", folder)
    one, two = (
        fetch(model(f"hf://acme/{n}"), small_disk, environ=environ).key for n in ("one", "two")
    )
    cache = Cache(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - TOTAL + 200_000))
    in_use = refused(small_disk, environ)
    assert in_use.reason is Reason.DISK_FULL
    for age, key in ((10, two), (20, one)):
        cache.uses.mark(key, time.time() - age)
    copy = fetch(model(), small_disk, environ=environ)
    assert copy.fetched_bytes == TOTAL
    assert cache.entries() == sorted((two, copy.key))


def test_what_would_not_make_room_enough_is_not_removed(
    hub: Hub, root: Path, environ: Environ
) -> None:
    folder = write_model(root.parent / "large")
    (folder / WEIGHTS).write_bytes(bytes(2 * TOTAL))
    hub.repositories.add("acme/large", folder)
    key = fetch(model(), root, environ=environ).key
    cache = Cache(root)
    cache.uses.mark(key, time.time())
    hub.log.clear()
    failure = refused(root, environ, bounded("hf://acme/large", TOTAL + 1_000_000))
    assert failure.reason is Reason.DISK_FULL
    assert "6.2 MB are still to come, 999.2 kB are free of the 4.1 MB that the volume has" in (
        failure.message
    )
    assert hub.log.sent("/acme/*") + hub.log.sent("/_cdn/*") == 0
    assert cache.find(key) is not None


def test_a_claim_smaller_than_its_disk_bounds_the_cache(
    hub: Hub, command: Command, root: Path
) -> None:
    ended = command.end(command.fetch(root, told=document(status=capacity(3_000_000))))
    assert ended.report["reason"] == "DiskFull"
    assert "3.1 MB are still to come, 3.0 MB are free of the 3.0 MB" in ended.report["message"]
    assert hub.log.sent("/acme/*") + hub.log.sent("/_cdn/*") == 0

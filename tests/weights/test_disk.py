"""Full disks, and caches that can not be written or belong to somebody else."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hub_server import Hub
from kubeembed_api.reasons import Reason
from kubeembed_weights import FetchError, Meter, fetch, open_copy
from weightskit import (
    TOTAL,
    WEIGHTS,
    WEIGHTS_BYTES,
    contents,
    eventually,
    model,
    refused,
)

Environ = dict[str, str]
SMALL = TOTAL - WEIGHTS_BYTES


def test_a_disk_too_small_is_refused_before_a_file_is_fetched(
    hub: Hub, small_disk: Path, environ: Environ
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    failure = refused(small_disk, environ)
    assert failure.reason is Reason.DISK_FULL
    assert failure.message.startswith(f"{small_disk}: 3.1 MB are still to come, 2.1 MB are free; ")
    assert hub.log.sent("/acme/*") + hub.log.sent("/_cdn/*") == 0
    ballast.unlink()
    assert fetch(model(), small_disk, environ=environ).fetched_bytes == TOTAL


def test_a_disk_that_fills_up_on_the_way_keeps_what_it_has(
    hub: Hub, small_disk: Path, environ: Environ
) -> None:
    hub.fault(path=f"*{WEIGHTS}", count=1, stall=1_000_000)
    meter = Meter()
    failures: list[FetchError] = []
    fetching = threading.Thread(
        target=lambda: failures.append(refused(small_disk, environ, progress=meter))
    )
    fetching.start()
    eventually(lambda: meter.bytes == SMALL + 1_000_000, "a third of the weights")
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(bytes(free - 500_000))
    hub.faults.clear()
    fetching.join()
    (failure,) = failures
    assert failure.reason is Reason.DISK_FULL
    here = meter.bytes
    (small_disk / "ballast").unlink()
    assert fetch(model(), small_disk, environ=environ).fetched_bytes <= TOTAL - here


def test_a_read_only_cache_is_unwritable_but_still_opened(
    hub: Hub, small_disk: Path, environ: Environ
) -> None:
    fetched = fetch(model(), small_disk, environ=environ)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert fetch(model(), small_disk, environ=environ).path == fetched.path
    failure = refused(small_disk / "other", environ)
    assert failure.reason is Reason.CACHE_UNWRITABLE
    assert "Read-only file system; the cache's volume must be mounted read-write" in failure.message


def test_a_file_in_place_of_the_cache_is_unwritable(hub: Hub, root: Path, environ: Environ) -> None:
    root.write_text("no folder")
    assert refused(root, environ).reason is Reason.CACHE_UNWRITABLE


@pytest.fixture
def as_another_user() -> Iterator[Callable[[], None]]:
    """Drops root's rights for the rest of the test."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def become() -> None:
        os.setegid(10001)
        os.seteuid(10001)

    yield become
    os.seteuid(0)
    os.setegid(0)


def test_another_user_reads_the_copy_but_can_not_write_the_cache(
    hub: Hub, folder: Path, environ: Environ, as_another_user: Callable[[], None]
) -> None:
    with TemporaryDirectory() as place:  # tmp_path is closed to other users
        os.chmod(place, 0o755)
        copy = fetch(model(), Path(place), environ=environ)
        as_another_user()
        assert open_copy(Path(place), copy.key) == copy.path
        assert contents(copy.path)[WEIGHTS] == (Path(place) / copy.key / WEIGHTS).read_bytes()
        failure = refused(Path(place) / "other", environ)
        assert failure.reason is Reason.CACHE_UNWRITABLE
        assert "writable for user 10001, group 10001 (fsGroup)" in failure.message
        os.seteuid(0)

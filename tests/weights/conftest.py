"""A hub of our own with a small model in it, a cache, a small disk."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_server import Hub
from store_proxy import StoreProxy
from storekit import RIGHT, Bucket, Running, az_store, gs_store, make_certificates, s3_store
from weightskit import REPOSITORY, Command, write_model

STORES = {"s3": s3_store, "gs": gs_store, "az": az_store}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's files. Not to be changed: other tests read it."""
    return write_model(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def hub(folder: Path) -> Iterator[Hub]:
    """Serves `acme/mini`; large files come from another origin, as on the real hub."""
    with Hub(cdn_port=0) as running:
        running.repositories.add(REPOSITORY, folder)
        yield running


@pytest.fixture
def commit(hub: Hub) -> str:
    revision = hub.repositories.find(REPOSITORY, "main")
    assert revision is not None
    return revision.commit


@pytest.fixture
def environ(hub: Hub) -> dict[str, str]:
    """What the fetch reads of the environment. No token of the person who runs the tests."""
    return {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache that is not there yet."""
    return tmp_path / "cache"


@pytest.fixture(scope="session", params=["s3", "gs", "az"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Running]]:
    """A real object store, of each kind in turn."""
    with STORES[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield request.param, running


@pytest.fixture
def bucket(store: tuple[str, Running], folder: Path) -> Iterator[Bucket]:
    """A folder of that store with the model in it, asked through a proxy."""
    scheme, running = store
    with StoreProxy(running.url, rename=scheme == "gs") as proxy:
        made = Bucket(scheme, running, proxy, uuid.uuid4().hex[:8])
        made.upload(folder)
        yield made


@pytest.fixture
def keys(store: tuple[str, Running]) -> dict[str, str]:
    """What the Secret puts into the environment of the fetch."""
    return RIGHT[store[0]]


@pytest.fixture
def command(tmp_path: Path, environ: dict[str, str]) -> Iterator[Command]:
    commands = Command(tmp_path, environ)
    yield commands
    for process in commands.running:
        process.kill()
        process.communicate()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("mounting a small tmpfs needs root")
    line = [mount, "-t", "tmpfs", "-o", "size=4m,mode=0777", "tmpfs", str(disk)]
    if subprocess.run(line, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs CAP_SYS_ADMIN")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA of our own, and a certificate of it for 127.0.0.1."""
    return make_certificates(tmp_path_factory.mktemp("certificates"), "127.0.0.1")

"""What all tests share: no event loop before a test makes one, and the cluster of dev/cluster."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from nodekit import Kube, run

CLUSTER = os.environ.get("KUBEEMBED_CLUSTER", "kubeembed")
API_CLUSTER = f"{CLUSTER}-api"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `last` read what all others made the cluster do."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session", autouse=True)
def no_implicit_event_loop() -> None:
    """Asked for a loop where none was ever set, asyncio makes one, which pytest-asyncio never closes."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def info() -> dict[str, Any]:
    """What dev/cluster says of the running cluster."""
    return dict(json.loads(run(sys.executable, "dev/cluster", "status", CLUSTER, "--json")))


@pytest.fixture(scope="session")
def api() -> Iterator[dict[str, Any]]:
    """A cluster of its own, where nothing of ours is installed but the definition of models."""
    run(sys.executable, "dev/cluster", "up", API_CLUSTER, "--audit")
    info = dict(json.loads(run(sys.executable, "dev/cluster", "status", API_CLUSTER, "--json")))
    kube = Kube(info, "default")
    kube.ctl("apply", "-f", "crds/embeddingmodels.yaml")
    kube.until_defined("embeddingmodels.kubeembed.dev")
    yield info
    run(sys.executable, "dev/cluster", "down", API_CLUSTER)

"""The running cluster of dev/cluster, for the tests that need one."""

import json
import os
import sys
from typing import Any

import pytest

from nodekit import run

CLUSTER = os.environ.get("KUBEEMBED_CLUSTER", "kubeembed")


@pytest.fixture(scope="session")
def info() -> dict[str, Any]:
    """What dev/cluster says of the running cluster."""
    return dict(json.loads(run(sys.executable, "dev/cluster", "status", CLUSTER, "--json")))

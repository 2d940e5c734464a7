"""More clients than a process has files to begin with: all of them are connected, and answered."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crowdkit import FEW_FILES, ask_at_once
from runtimekit import Process
from stubkit import launch_stub


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = launch_stub(tmp_path, before=FEW_FILES).until_ready()
    yield made
    made.end()


def test_the_files_of_a_login_do_not_bound_the_clients(process: Process) -> None:
    heads = ask_at_once(process.popen.pid, "127.0.0.1", process.port, "/v1/models")
    assert heads == {b"HTTP/1.1 200 OK"}

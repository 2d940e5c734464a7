"""Every path holds what /openapi.json says of it, against whatever schemathesis makes of that."""

import os
import subprocess
from pathlib import Path

import pytest

from clientkit import QUIET, python
from runtimekit import Process

HOOKS = Path(__file__).parent / "description_hooks.py"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
PHASES = ("--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--no-color")
#: Among what it sends are requests of 2,048 texts, and a machine may be busy.
ARGUMENTS = (*PHASES, "--request-timeout", "120")


@pytest.mark.timeout(700)
def test_no_answer_is_outside_of_the_description(serving: Process, tmp_path: Path) -> None:
    tool = python("schemathesis").parent / "st"
    where, unpacked = f"{serving.url}/openapi.json", tmp_path / "unpacked"
    told = {"SCHEMATHESIS_HOOKS": str(HOOKS), "UNPACKED": str(unpacked), "SERVED": "minilm"}
    done = subprocess.run(
        [str(tool), "run", where, "--checks", ",".join(CHECKS), *ARGUMENTS],
        env=os.environ | QUIET | told,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert "Tested: " in done.stdout
    assert set(unpacked.read_text().split()) == {"200"}

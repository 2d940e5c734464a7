"""The server with a stub encoder, and the shares of its time: what benchmarks/overhead.py prints."""

import json
from pathlib import Path

import pytest

from samplekit import STAGES, stage_of, table
from stubkit import DIMENSIONS, NAME, VECTORS, WARM_UP, heads_read, launch_stub

PACKAGES = "/x/site-packages"


@pytest.mark.parametrize("flags", [(), ("--batcher",)], ids=["stub", "batcher"])
def test_a_stub_serves_what_was_prepared_and_counts_what_it_read(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    samples = tmp_path / "samples"
    process = launch_stub(tmp_path, *flags, "--profile", str(samples)).until_ready()
    try:
        for _ in range(WARM_UP + 100):
            reply = process.embed({"model": NAME, "input": ["a", "bcd"]})
        assert process.terminate() == 0
    finally:
        process.end()
    first, second = (one["embedding"] for one in reply["data"])
    assert len(first) == DIMENSIONS
    assert first == pytest.approx(VECTORS[1].tolist())
    assert second == pytest.approx(VECTORS[3].tolist())
    assert heads_read(process) == WARM_UP + 100
    assert set(json.loads(samples.read_text())) <= {*STAGES, "rest"}


@pytest.mark.parametrize(
    ("file", "function", "stage"),
    [
        (f"{PACKAGES}/uvicorn/protocols/http/httptools_impl.py", "on_url", "read, HTTP parsing"),
        (f"{PACKAGES}/uvicorn/protocols/http/httptools_impl.py", "send", "write"),
        (f"{PACKAGES}/starlette/routing.py", "app", "framework"),
        (f"{PACKAGES}/starlette/requests.py", "stream", "body"),
        ("/r/kubeembed_runtime/api/openai.py", "parse", "decode, validate"),
        ("/r/kubeembed_runtime/api/openai.py", "reply", "encode"),
        ("/r/kubeembed_runtime/api/contract.py", "unless_gone", "hand-over"),
        ("/r/kubeembed_runtime/api/contract.py", "endpoint", "route, ids, headers"),
        ("/usr/lib/python3.11/json/encoder.py", "encode", None),
    ],
)
def test_a_frame_belongs_to_the_stage_that_names_it_most_closely(
    file: str, function: str, stage: str | None
) -> None:
    assert stage_of(file, function) == stage


def test_shares_are_of_each_case_alone() -> None:
    lines = table({"one": {"encode": 3, "rest": 1}, "none": {}}).splitlines()
    assert lines[0] == "| share of CPU time, % | one | none |"
    assert "| encode | 75.0 | 0.0 |" in lines
    assert lines[-1] == "| samples | 4 | 0 |"

"""A list of checksums as `sha256sum` writes it, with the command that the documentation shows."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from kubeembed_api.reasons import Reason
from kubeembed_weights import FetchError
from kubeembed_weights.sums import parse_sums
from weightskit import contents, write_model

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"


def test_the_documented_command_lists_every_file(tmp_path: Path) -> None:
    [command] = re.findall(r"```\n(cd bge-m3 .*)\n```", PAGE.read_text())
    folder = write_model(tmp_path / "bge-m3")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    told = (folder / "SHA256SUMS").read_bytes()
    (folder / "SHA256SUMS").unlink()
    assert parse_sums(told, "here") == {
        path: hashlib.sha256(content).hexdigest() for path, content in contents(folder).items()
    }


@pytest.mark.parametrize("mark", ["  ", " *", "  ./"])
def test_the_forms_that_sha256sum_checks_are_read(mark: str) -> None:
    assert parse_sums(f"{'a' * 64}{mark}a b.json\n\n".encode(), "here") == {"a b.json": "a" * 64}


@pytest.mark.parametrize(
    "line",
    ["a" * 63 + "  x", f"SHA256 (x) = {'a' * 64}", "a" * 64, "\\" + "a" * 64 + "  x", "\xff"],
)
def test_other_lines_are_refused_by_their_number(line: str) -> None:
    with pytest.raises(FetchError, match="here: line 2 is not of the form") as refused:
        parse_sums(f"{'a' * 64}  x\n{line}\n".encode(), "here")
    assert refused.value.reason is Reason.NO_USABLE_FILES

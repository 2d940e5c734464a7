"""The stubs that stand in for CUDA libraries: they load, and end the process if anything calls them."""

import subprocess
import sys
from pathlib import Path

import pytest

from nodekit import ROOT

pytestmark = pytest.mark.cluster  # needs binutils, as the build does

sys.path.insert(0, str(ROOT / "dev" / "images"))

from stub_cuda import Symbol, assembly, folder, stub  # noqa: E402


def test_every_symbol_is_defined_once() -> None:
    functions = Symbol(name="cublasCreate_v2", version="libcublas.so.13", is_data=False)
    data = Symbol(name="state", version="NVSHMEM", is_data=True)
    lines = assembly([functions, data]).splitlines()
    assert lines.count("cublasCreate_v2:") == lines.count("state:") == 1
    assert lines.index("cublasCreate_v2:") < lines.index(".bss") < lines.index("state:")


def test_stub_loads_with_all_symbols_bound_and_ends_who_calls_it(tmp_path: Path) -> None:
    wanted = Symbol(name="cublasCreate_v2", version="libcublas.so.13", is_data=False)
    path = tmp_path / "libcublas.so.13"
    stub(path, {"libcublas.so.13": {wanted}, "": set()})
    assert path.stat().st_size < 20_000
    load = f"import ctypes, os; f = ctypes.CDLL({str(path)!r}, mode=os.RTLD_NOW).cublasCreate_v2"
    assert subprocess.run([sys.executable, "-c", load], check=False).returncode == 0
    assert subprocess.run([sys.executable, "-c", f"{load}; f()"], check=False).returncode < 0


def test_library_that_nobody_thought_of_ends_the_build() -> None:
    assert folder("libcublas.so.13") == "cu13"
    with pytest.raises(SystemExit, match="libcunew"):
        folder("libcunew.so.1")

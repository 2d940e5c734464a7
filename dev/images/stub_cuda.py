"""CUDA libraries that a CPU image never calls -> stubs of a few kilobytes, so that torch still loads.

PyPI's torch for Linux is linked to 2.5 GB of CUDA libraries, and Python binds every symbol at import. Without
a driver torch calls none of them (the CUDA runtime, which it asks for devices, stays the real one), so each
missing library becomes one whose every function is the same illegal instruction. Runs in the build of the
image; needs binutils alone. A torch from PyTorch's own CPU index needs no stubs.
"""

import platform
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Libraries that torch is linked to, by file name without the version, and their place beside torch.
FOLDERS = {
    "libcublas": "cu13",
    "libcublasLt": "cu13",
    "libcudnn": "cudnn",
    "libcufft": "cu13",
    "libcufile": "cu13",
    "libcusolver": "cu13",
    "libcusparse": "cu13",
    "libcusparseLt": "cusparselt",
    "libnccl": "nccl",
    "libnvrtc": "cu13",
    "libnvshmem_host": "nvshmem",
}

#: What libraries without symbol versions define. Nothing else may be answered by a stub: torch also leaves
#: Python's own symbols undefined and unversioned.
UNVERSIONED = re.compile(r"nccl[A-Z]|cuFile|cusparseLt")

#: The instruction that ends the process, in bytes.
ILLEGAL = {"x86_64": "0x0f, 0x0b", "aarch64": "0x00, 0x00, 0x00, 0x00"}

NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """A symbol that a library of torch wants from another. `version` is "" where it has none."""

    name: str
    version: str
    is_data: bool


def main() -> None:
    """Argument: the site-packages folder that holds torch."""
    packages = Path(sys.argv[1])
    libraries = sorted((packages / "torch" / "lib").glob("*.so*"))
    symbols = wanted(libraries)
    for library in missing(packages, libraries):
        stub(packages / "nvidia" / folder(library) / "lib" / library, symbols)


def folder(library: str) -> str:
    """Folder below nvidia/ where torch looks for the library. Exits where it is a new one."""
    try:
        return FOLDERS[library.partition(".so")[0]]
    except KeyError:
        sys.exit(f"torch is linked to {library}, which is neither installed nor known as a stub")


def missing(packages: Path, libraries: Iterable[Path]) -> list[str]:
    """Names of the libraries that torch is linked to and that are neither installed nor the system's."""
    needed = {
        name
        for library in libraries
        for name in NEEDED.findall(run("readelf", "-d", str(library)))
        if name.startswith(("libcu", "libnc", "libnv")) and name != "libcuda.so.1"
    }
    present = {path.name for path in (packages / "nvidia").rglob("*.so*")}
    return sorted(needed - present)


def wanted(libraries: Iterable[Path]) -> dict[str, set[Symbol]]:
    """Version -> undefined symbols. NVIDIA's versions are called as their library, but NVSHMEM's."""
    found: dict[str, set[Symbol]] = defaultdict(set)
    defined: set[str] = set()
    for library in libraries:
        for line in run("readelf", "--dyn-syms", "--wide", str(library)).splitlines():
            fields = line.split()
            if len(fields) < 8 or not fields[0].rstrip(":").isdigit():
                continue
            name, _, version = fields[7].partition("@")
            if fields[6] != "UND":
                defined.add(name)
            elif fields[4] == "GLOBAL":
                symbol = Symbol(name=name, version=version, is_data=fields[3] == "OBJECT")
                found[version].add(symbol)
    found[""] = {
        symbol
        for symbol in found[""]
        if symbol.name not in defined and UNVERSIONED.match(symbol.name)
    }
    return found


def stub(path: Path, symbols: dict[str, set[Symbol]]) -> None:
    """Links the stub. Symbols without a version are in every stub: the loader takes the first."""
    version = "NVSHMEM" if path.name.startswith("libnvshmem") else path.name
    chosen = sorted(symbols[version] | symbols[""], key=lambda symbol: symbol.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source, versions, binary = (Path(scratch) / name for name in ("s.s", "s.map", "s.o"))
        source.write_text(assembly(chosen))
        versions.write_text(f"{version} {{ global: *; }};\n")
        run("as", "-o", str(binary), str(source))
        run(
            *("ld", "-shared", "-soname", path.name, "--version-script", str(versions)),
            *("-o", str(path), str(binary)),
        )
    print(f"{path.name}: a stub of {len(chosen)} symbols, {path.stat().st_size} bytes")


def assembly(symbols: Iterable[Symbol]) -> str:
    """One illegal instruction under the names of all functions, one zeroed page under those of all data."""
    functions, data = [".text"], [".bss", ".balign 64"]
    for symbol in symbols:
        kind, lines = ("@object", data) if symbol.is_data else ("@function", functions)
        lines += [f".globl {symbol.name}", f".type {symbol.name}, {kind}", f"{symbol.name}:"]
    lines = [*functions, f".byte {ILLEGAL[platform.machine()]}", *data, ".skip 4096"]
    return "\n".join([*lines, '.section .note.GNU-stack,"",@progbits', ""])


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()

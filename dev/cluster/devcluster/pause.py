"""pause, twice: as the program that holds a node's namespaces, and as the image that holds a pod's.

The image is a docker archive of one layer with one file, the same bytes whenever it is packed.
"""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

from devcluster.process import run

IMAGE = "localhost/pause:1"
# As Go and images name what the kernel calls otherwise.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def build(source: Path, into: Path) -> None:
    """Compile SOURCE to INTO/pause and pack INTO/pause.tar."""
    program = into / "pause"
    run(["gcc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o", program, source])
    (into / "pause.tar").write_bytes(archive(program.read_bytes()))


def archive(program: bytes, *, image: str = IMAGE, file: str = "pause") -> bytes:
    """A docker archive with one IMAGE, whose only content is PROGRAM as /FILE, and runs it."""
    layer = _tar({file: program}, mode=0o755)
    config = json.dumps(
        {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {"Entrypoint": [f"/{file}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}"]},
        }
    ).encode()
    config_name = f"{_sha256(config)}.json"
    manifest = [{"Config": config_name, "RepoTags": [image], "Layers": ["layer.tar"]}]
    return _tar(
        {"layer.tar": layer, config_name: config, "manifest.json": json.dumps(manifest).encode()}
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    """An uncompressed tar; tarfile's defaults for owner and time are zeros."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()

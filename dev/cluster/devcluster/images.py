"""Brings image archives (OCI or docker) into the node, and skips those whose very images are there already.

What an archive holds is read from its index, and remembered as a label on the image in containerd: the
digest that containerd gives an image of a docker archive can't be known beforehand.
"""

import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import holder
from devcluster.cluster import Cluster
from devcluster.console import say, step
from devcluster.errors import ClusterError, CommandFailed
from devcluster.process import CLEAN_ENVIRONMENT, run

LABEL = "kubeembed.dev/archive"
CHUNK = 4 << 20
# Where the two formats that are in use put the name.
NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """One image: its full name, and the digest of its manifest (OCI) or configuration (docker)."""

    name: str
    digest: str


def contents(archive: Path) -> list[Archived]:
    """The images of an archive. Raises ClusterError when it is none, or when an image has no name."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name.removeprefix("./") in ("index.json", "manifest.json"):
                    file = tar.extractfile(member)
                    assert file is not None
                    return _parse(archive, json.load(file))
    except (OSError, tarfile.TarError) as error:
        raise ClusterError(f"{archive}: {error}") from error
    raise ClusterError(
        f"{archive} is neither an OCI nor a docker archive: no index.json, no manifest.json"
    )


def _parse(archive: Path, index: Any) -> list[Archived]:
    if isinstance(index, list):
        return [
            Archived(name=tag, digest=str(each["Config"]).rpartition("/")[2].removesuffix(".json"))
            for each in index
            for tag in each["RepoTags"] or ()
        ]
    found = []
    for each in index["manifests"]:
        annotations = each.get("annotations", {})
        name = next((annotations[key] for key in NAME_ANNOTATIONS if key in annotations), "")
        if "/" not in name:
            raise ClusterError(
                f"{archive}: an image without a full name ({name or 'none'});"
                " write it as oci-archive:FILE:localhost/NAME:TAG"
            )
        found.append(Archived(name=name, digest=each["digest"]))
    return found


def load(cluster: Cluster, programs: Path, archive: Path) -> None:
    """Import an archive, unless all its images are on the node as they are."""
    wanted = contents(archive)
    have = _loaded(cluster, programs)
    names = ", ".join(each.name for each in wanted)
    if wanted and all(have.get(each.name) == each.digest for each in wanted):
        say(f"          {names}: on {cluster.name} already")
        return
    with step(f"load {names} into {cluster.name}") as running:
        size = archive.stat().st_size
        child = subprocess.Popen(
            [*_ctr(cluster, programs), "images", "import", "--local", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=CLEAN_ENVIRONMENT,
        )
        assert child.stdin is not None
        try:
            with archive.open("rb") as file:
                while chunk := file.read(CHUNK):
                    child.stdin.write(chunk)
                    running.progress(f"{file.tell() >> 20} of {size >> 20} MiB")
        except BrokenPipeError:
            pass  # its own words say why
        running.progress("unpacking")
        output, _ = child.communicate()
        if child.returncode:
            raise CommandFailed(
                ["ctr", "images", "import", str(archive)], child.returncode, output.decode()
            )
        for each in wanted:
            run([*_ctr(cluster, programs), "images", "label", each.name, f"{LABEL}={each.digest}"])


def _loaded(cluster: Cluster, programs: Path) -> dict[str, str]:
    """Images on the node that were loaded from an archive: name -> digest."""
    found = {}
    for line in run([*_ctr(cluster, programs), "images", "ls"]).splitlines()[1:]:
        name, labels = line.split()[0], line.split()[-1]
        for label in labels.split(","):
            key, _, value = label.partition("=")
            if key == LABEL:
                found[name] = value
    return found


def _ctr(cluster: Cluster, programs: Path) -> list[str]:
    inside = holder.enter(holder.require(cluster))
    return [*inside, str(programs / "ctr"), "-a", str(cluster.containerd_socket), "-n", "k8s.io"]

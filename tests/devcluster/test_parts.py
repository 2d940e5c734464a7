"""The parts of dev/cluster that are plain values."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest


def test_the_number_keeps_the_networks_of_two_clusters_apart() -> None:
    from devcluster.cluster import NUMBERS, Cluster

    networks = [net for n in NUMBERS for net in Cluster(name="any", number=n).networks]
    assert len(networks) == len(set(networks)) == 150
    assert Cluster(name="any", number=7).networks == (
        "10.250.7.0/24",
        "10.107.0.0/16",
        "10.207.0.0/16",
    )


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "a" * 33])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    from devcluster.cluster import find
    from devcluster.errors import ClusterError

    with pytest.raises(ClusterError, match="write up to 32 of a-z"):
        find(name)


def test_flags_are_added_to_their_component_alone() -> None:
    from devcluster import components
    from devcluster.cluster import Cluster

    plain = Cluster(name="any", number=0)
    more = Cluster(name="any", number=0, flags=(("kubelet", "--v=4"),))
    programs = Path("/programs")
    assert components.kubelet(more, programs).argv == (
        *components.kubelet(plain, programs).argv,
        "--v=4",
    )
    assert components.scheduler(more, programs) == components.scheduler(plain, programs)


def test_an_audit_log_is_kept_only_when_asked_for() -> None:
    from devcluster import components
    from devcluster.cluster import Cluster

    flags = {
        audit: set(components.apiserver(Cluster(name="a", number=0, audit=audit), Path("/p")).argv)
        for audit in (False, True)
    }
    assert {flag.partition("=")[0] for flag in flags[True] - flags[False]} == {
        "--audit-policy-file",
        "--audit-log-path",
        "--audit-log-maxsize",
    }


def test_a_docker_archive_tells_names_and_digests(tmp_path: Path) -> None:
    from devcluster.images import Archived, contents
    from devcluster.pause import archive

    packed = tmp_path / "image.tar"
    packed.write_bytes(archive(b"program", image="localhost/a:1", file="a"))
    [found] = contents(packed)
    assert found == Archived(name="localhost/a:1", digest=found.digest)
    assert len(found.digest) == 64
    assert archive(b"program", image="localhost/a:1", file="a") == packed.read_bytes()


def test_an_oci_archive_tells_names_and_digests(tmp_path: Path) -> None:
    from devcluster.images import Archived, contents

    name = {"org.opencontainers.image.ref.name": "localhost/a:1"}
    index = {"manifests": [{"digest": "sha256:01", "annotations": name}]}
    assert contents(oci(tmp_path, index)) == [Archived(name="localhost/a:1", digest="sha256:01")]


def test_an_image_without_a_name_is_refused_with_the_way_to_name_it(tmp_path: Path) -> None:
    from devcluster.errors import ClusterError
    from devcluster.images import contents

    with pytest.raises(ClusterError, match=r"oci-archive:FILE:localhost/NAME:TAG"):
        contents(oci(tmp_path, {"manifests": [{"digest": "sha256:01"}]}))


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    from devcluster.errors import ClusterError
    from devcluster.images import contents

    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ClusterError, match="text: "):
        contents(tmp_path / "text")


def oci(folder: Path, index: object) -> Path:
    packed = folder / "image.tar"
    data = json.dumps(index).encode()
    with tarfile.open(packed, "w") as tar:
        member = tarfile.TarInfo("index.json")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return packed


def test_a_kept_node_is_ready_once_its_kubelet_has_spoken_again() -> None:
    from devcluster import node

    def told(ready: str, at: str) -> dict[str, Any]:
        conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": at}]
        return {"status": {"conditions": conditions}}

    before = told("True", "2026-11-24T12:00:00Z")
    word = node.heard(before)
    assert not node.is_ready(before, word)
    assert not node.is_ready(told("False", "2026-11-24T12:01:00Z"), word)
    assert node.is_ready(told("True", "2026-11-24T12:01:10Z"), word)
    assert node.is_ready(before)
    assert node.heard(None) is None
    assert not node.is_ready(None)

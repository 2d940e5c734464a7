"""An adapter's two files come into the cache as weights do; a local folder is used where it lies."""

from pathlib import Path

import pytest

from hub_server import Hub
from kubeembed_api.keys import ADAPTER_FILES, weights_key
from kubeembed_api.reasons import Reason
from kubeembed_api.sources import parse_source
from kubeembed_api.spec import Adapter
from kubeembed_weights import FetchError, Meter, fetch_adapter
from kubeembed_weights.cache import Cache
from kubeembed_weights.fetching import Wanted, filled
from kubeembed_weights.mounted import Mounted
from kubeembed_weights.selection import select_adapter
from weightskit import contents

SOURCE = "hf://acme/legal"
LEGAL = Adapter(name="legal", source=SOURCE)
FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x" * 2000}


def publish(hub: Hub, folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, content in {**files, "README.md": b"words"}.items():
        (folder / name).write_bytes(content)
    hub.repositories.add("acme/legal", folder)


def test_the_two_files_are_fetched_and_once(
    hub: Hub, root: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    publish(hub, tmp_path / "legal", FILES)
    copy = fetch_adapter(LEGAL, root, environ=environ)
    folder = copy.path
    revision = hub.repositories.find("acme/legal", "main")
    assert revision is not None
    key = weights_key(parse_source(SOURCE), revision.commit, ADAPTER_FILES)
    assert folder == root / key
    assert (copy.key, copy.revision, copy.bytes) == (key, revision.commit, 2002)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert "README.md" not in contents(folder)
    sent = hub.log.sent("/acme/*") + hub.log.sent("/_cdn/*")
    assert fetch_adapter(LEGAL, root, environ=environ).path == folder
    assert hub.log.sent("/acme/*") + hub.log.sent("/_cdn/*") == sent
    pinned = Adapter(name="legal", source=SOURCE, revision=revision.commit)
    asked = len(hub.log.entries())
    assert fetch_adapter(pinned, root, environ=environ).path == folder
    assert len(hub.log.entries()) == asked


@pytest.mark.parametrize("missing", FILES)
def test_a_repository_that_is_no_adapter_is_refused(
    missing: str, hub: Hub, root: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    files = {name: content for name, content in FILES.items() if name != missing}
    publish(hub, tmp_path / "legal", {**files, "adapter_model.bin": b"x"})
    with pytest.raises(
        FetchError, match=f"has no {missing} .* it has .*adapter_model.bin"
    ) as error:
        fetch_adapter(LEGAL, root, environ=environ)
    assert error.value.reason is Reason.NO_USABLE_FILES


def test_a_folder_on_this_machine_is_used_where_it_lies(root: Path, tmp_path: Path) -> None:
    adapter = Adapter(name="legal", source=f"file://{tmp_path}")
    assert fetch_adapter(adapter, root).path == tmp_path
    assert not root.exists()


def placed(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


CLAIMED = Adapter(name="legal", source="pvc://team/legal")


def test_one_on_a_claim_is_copied_and_named_by_its_content(root: Path, tmp_path: Path) -> None:
    folder = placed(tmp_path / "legal", {**FILES, "README.md": b"words"})
    copy = fetch_adapter(CLAIMED, root, mounted=folder)
    assert {name: (copy.path / name).read_bytes() for name in FILES} == FILES
    assert "README.md" not in contents(copy.path)
    assert copy.revision is not None
    assert copy.key == weights_key(parse_source("pvc://team/legal"), copy.revision, ADAPTER_FILES)
    assert (len(copy.revision), copy.bytes, copy.fetched_bytes) == (40, 2002, 2002)
    again = fetch_adapter(CLAIMED, root, mounted=folder)
    assert (again.key, again.fetched_bytes) == (copy.key, 0)
    (folder / "adapter_model.safetensors").write_bytes(b"y" * 2000)
    other = fetch_adapter(CLAIMED, root, mounted=folder)
    assert other.key != copy.key
    assert (copy.path / "adapter_model.safetensors").read_bytes() == b"x" * 2000


def test_what_is_amiss_with_a_claim_is_told_of_the_source_and_not_of_the_cache(
    root: Path, tmp_path: Path
) -> None:
    def refused(folder: Path) -> tuple[Reason, str]:
        with pytest.raises(FetchError) as error:
            fetch_adapter(CLAIMED, root, mounted=folder)
        return error.value.reason, error.value.message

    assert refused(tmp_path / "none") == (
        Reason.SOURCE_NOT_FOUND,
        "pvc://team/legal: No such file or directory; it is read as user 10001 of group 10001",
    )
    reason, message = refused(placed(tmp_path / "half", {"adapter_config.json": b"{}"}))
    assert reason is Reason.NO_USABLE_FILES
    assert message.startswith("pvc://team/legal has no adapter_model.safetensors")


def test_a_file_that_is_cut_while_it_is_copied_is_not_taken(tmp_path: Path) -> None:
    folder = placed(tmp_path / "legal", FILES)
    remote = Mounted(CLAIMED.parsed, folder)
    listing = remote.listing(None, select_adapter)
    assert [file.path for file in listing.files] == sorted(FILES)
    (folder / "adapter_model.safetensors").write_bytes(b"z" * 1999)
    wanted = Wanted(source=CLAIMED.parsed, key="1" * 32, listing=listing, choose=select_adapter)
    with pytest.raises(FetchError) as error:
        filled(Cache(tmp_path / "cache"), remote, wanted, Meter())
    assert error.value.reason is Reason.SOURCE_TRUNCATED
    (folder / "adapter_model.safetensors").write_bytes(b"z" * 2000)
    with pytest.raises(FetchError) as error:
        filled(Cache(tmp_path / "cache"), remote, wanted, Meter())
    assert error.value.reason is Reason.CHECKSUM_MISMATCH


def test_outside_of_a_cluster_a_claim_is_nowhere(root: Path) -> None:
    with pytest.raises(FetchError, match="outside of one write file:///path"):
        fetch_adapter(CLAIMED, root)

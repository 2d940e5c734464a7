"""An adapter's two files come into the cache as weights do; a local folder is used where it lies."""

from pathlib import Path

import pytest

from hub_server import Hub
from kubeembed_api.document import Adapter
from kubeembed_api.keys import ADAPTER_FILES, weights_key
from kubeembed_api.reasons import Reason
from kubeembed_api.sources import parse_source
from kubeembed_weights import FetchError, fetch_adapter
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

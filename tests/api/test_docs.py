"""Every reason that a user can meet is explained in docs/status.md."""

import re
from pathlib import Path

from kubeembed_api.reasons import Reason

STATUS = (Path(__file__).parents[2] / "docs" / "status.md").read_text()


def test_every_reason_is_explained_and_none_that_does_not_exist() -> None:
    table = STATUS.split("## Reasons")[1]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    explained = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert explained == set(Reason)

"""What the documentation says holds: reasons are explained, documents in it can be applied."""

import re
from pathlib import Path

import pytest
import yaml

from kubeembed_api.document import parse
from kubeembed_api.reasons import Reason
from kubeembed_api.remedies import EXPLANATIONS, Explanation

ROOT = Path(__file__).parents[2]
STATUS = (ROOT / "docs" / "status.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def documents() -> dict[str, str]:
    """Every EmbeddingModel that examples/ and the pages show, by where it stands."""
    found = {str(file.relative_to(ROOT)): file.read_text() for file in ROOT.glob("examples/*.yaml")}
    for page in PAGES:
        blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
        for number, block in enumerate(
            b for b in blocks if re.search("^kind: EmbeddingModel$", b, re.M)
        ):
            found[f"{page.relative_to(ROOT)} {number}"] = block
    return found


@pytest.mark.parametrize("text", documents().values(), ids=documents().keys())
def test_a_document_that_we_show_can_be_applied(text: str) -> None:
    for each in yaml.safe_load_all(text):
        parse(each)


def test_every_reason_is_explained_and_none_that_does_not_exist() -> None:
    table = STATUS.split("## Reasons")[1]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    explained = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert explained == set(Reason)


def test_the_command_explains_reasons_in_the_words_of_the_page() -> None:
    """A link of the page is a file of docs/ in a terminal."""
    table = STATUS.split("## Reasons")[1]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    told = {
        name: Explanation(
            happened.strip(), re.sub(r"\[.*?\]\((.*?)\)", r"docs/\1", way_out.strip())
        )
        for names, happened, way_out in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    assert told == EXPLANATIONS

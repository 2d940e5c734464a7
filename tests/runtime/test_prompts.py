import pytest

from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.prompts import Prompts
from kubeembed_runtime.requests import Prompting

E5 = Prompts(
    named={"query": "query: ", "document": "passage: ", "sts": "sts: "},
    query="query: ",
    document="passage: ",
)
INSTRUCTED = Prompts(
    named={"query": "Instruct: Search\nQuery: "},
    query="Instruct: Search\nQuery: ",
    instruction="Instruct: {instruction}\nQuery: ",
)
QUERY, DOCUMENT = Prompting(side="query"), Prompting(side="document")


@pytest.mark.parametrize(
    ("prompts", "wanted", "before"),
    [
        (E5, QUERY, "query: "),
        (E5, DOCUMENT, "passage: "),
        (E5, Prompting(), ""),
        (E5, Prompting(prompt_name="sts"), "sts: "),
        (E5, Prompting(side="query", prompt_name="document"), "passage: "),
        (E5, Prompting(side="query", instruction="Find {x} "), "Find {x} "),
        (INSTRUCTED, QUERY, "Instruct: Search\nQuery: "),
        (INSTRUCTED, DOCUMENT, ""),
        (INSTRUCTED, Prompting(side="query", instruction="Find"), "Instruct: Find\nQuery: "),
        (INSTRUCTED, Prompting(instruction="Find"), "Instruct: Find\nQuery: "),
        (INSTRUCTED, Prompting(side="document", instruction="Find"), ""),
        (
            INSTRUCTED,
            Prompting(side="query", instruction="{instruction} {0} {text}"),
            "Instruct: {instruction} {0} {text}\nQuery: ",
        ),
        (Prompts(default="D: "), Prompting(), "D: "),
        (Prompts(), QUERY, ""),
    ],
    ids=[
        "query", "document", "no side", "by name", "a name before the side", "no template",
        "default instruction", "bare document", "instruction", "instruction without a side",
        "instruction of a document", "braces", "default prompt", "no prompts",
    ],
)  # fmt: skip
def test_what_stands_before_a_text(prompts: Prompts, wanted: Prompting, before: str) -> None:
    assert prompts.before(wanted) == before


@pytest.mark.parametrize(
    ("prompts", "wanted", "said"),
    [
        (E5, Prompting(prompt_name="q"), "no prompt 'q'; allowed: document, query, sts"),
        (Prompts(), Prompting(prompt_name="q"), "allowed: none: the model has no prompts"),
        (E5, Prompting(prompt_name="sts", instruction="x"), "exclude each other"),
    ],
    ids=["unknown", "none", "both"],
)
def test_a_prompt_that_cannot_be_meant_is_refused(
    prompts: Prompts, wanted: Prompting, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        prompts.before(wanted)
    assert refused.value.field == "prompt"

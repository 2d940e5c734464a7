"""Texts -> figures, asked of real servers of each kind of model; and the table that people see."""

import http.client
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kubeembed_cli.comparison import Comparison, compare, dot
from kubeembed_cli.errors import CommandFailed, NotServing
from kubeembed_cli.goldens import Asked, ask
from kubeembed_cli.server import Server
from kubeembed_cli.trying import told
from runtimekit import document, late_interaction, launch, minilm_folder, splade_folder

TEXTS = ("A man is eating food.", "Somebody has lunch.", "A cheetah chases its prey.")
KEY = "sesame"

Ask = Callable[..., Server]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """The server of a kind of model, started when it is first asked for."""
    started: dict[str, Any] = {}

    def start(kind: str) -> Any:
        folder = tmp_path_factory.mktemp(kind)
        if kind == "dense":
            keys = folder / "keys"
            keys.write_text(KEY)
            prompts = {"query": "find: ", "document": "page: "}
            served = document(minilm_folder(), prompts=prompts)
            return launch(folder, served, "--api-keys", str(keys))
        if kind == "sparse":
            return launch(folder, document(splade_folder(), outputs=["sparse"]))
        return launch(folder, document(late_interaction(folder / "model")))

    def of(kind: str, key: str | None = KEY) -> Server:
        if kind not in started:
            started[kind] = start(kind).until_ready()
        port = started[kind].port
        return Server("minilm", lambda: http.client.HTTPConnection("127.0.0.1", port), key)

    yield of
    for process in started.values():
        process.end()


def test_vectors_of_texts_are_compared_with_each_other(server: Ask) -> None:
    asked = server("dense")
    found = compare(asked, asked.about(), TEXTS, ())
    values = found.values
    assert (found.measure, found.texts, found.queries) == ("cosine", TEXTS, ())
    assert [values[n][n] for n in range(3)] == pytest.approx([1, 1, 1], abs=1e-6)
    assert values[0][1] == values[1][0] > values[0][2]


def test_a_query_has_its_own_prompt_and_so_have_texts_beside_it(server: Ask) -> None:
    asked = server("dense")
    ((same,),) = compare(asked, asked.about(), TEXTS[:1], TEXTS[:1]).values
    plain, query, page = (asked.embed(TEXTS[:1], side)[0] for side in (None, "query", "document"))
    assert plain != query != page != plain
    assert same < 0.9999
    assert len(query) == 384


def test_a_server_says_what_it_serves(server: Ask) -> None:
    about = server("dense").about()
    assert (about.name, about.outputs, set(about.prompts)) == (
        "minilm",
        ("dense",),
        {"query", "document"},
    )
    assert len(about.fingerprint) == 32


def test_sparse_vectors_are_compared_by_their_product(server: Ask) -> None:
    asked = server("sparse")
    found = compare(asked, asked.about(), TEXTS, ("food",))
    assert found.measure == "dot"
    assert found.values[0][0] > found.values[2][0]


def test_products_count_the_tokens_of_both() -> None:
    assert dot({1: 2.0, 5: 0.5}, {5: 4.0, 7: 1.0}) == 2.0


def test_a_model_that_only_scores_takes_the_first_text_as_the_query(server: Ask) -> None:
    asked = server("multivector")
    found = compare(asked, asked.about(), ("Who eats?", *TEXTS), ())
    assert (found.measure, found.queries, found.texts) == ("score", ("Who eats?",), TEXTS)
    assert len(found.values) == 3
    assert found.values == compare(asked, asked.about(), TEXTS, ("Who eats?",)).values
    with pytest.raises(CommandFailed, match="give a text more"):
        compare(asked, asked.about(), TEXTS[:1], ())


def test_a_key_that_is_asked_for_and_not_given_is_said(server: Ask) -> None:
    with pytest.raises(NotServing, match=r"minilm answered 401: .* with --api-key-file"):
        server("dense", None).about()


def test_a_server_that_breaks_off_is_said() -> None:
    gone = Server("minilm", lambda: http.client.HTTPConnection("127.0.0.1", 9), None)
    with pytest.raises(NotServing, match="minilm broke off at /v1/models/minilm"):
        gone.about()


def test_golden_vectors_have_the_side_of_their_text(server: Ask) -> None:
    asked = server("dense")
    lines = [Asked(text="food"), Asked(text="food", side="query"), Asked(text="prey")]
    found = ask(asked, lines)
    plain, query = asked.embed(["food", "prey"], None), asked.embed(["food"], "query")
    assert (found.model, found.dimensions, found.fingerprint) == (
        "minilm",
        384,
        asked.about().fingerprint,
    )
    assert [(one.text, one.side) for one in found.texts] == [(t.text, t.side) for t in lines]
    for one, vector in zip(found.texts, (plain[0], query[0], plain[1]), strict=True):
        assert one.vector == pytest.approx(vector, abs=1e-6)


def test_golden_vectors_want_dense_ones(server: Ask) -> None:
    with pytest.raises(NotServing, match="minilm gives sparse; golden vectors are of dense"):
        ask(server("sparse"), [Asked(text="food")])


def test_a_table_names_its_columns_by_its_rows() -> None:
    found = Comparison(
        model="minilm",
        fingerprint="f00d",
        measure="cosine",
        texts=("one", "two\nlines"),
        queries=(),
        values=((1.0, -0.25), (-0.25, 1.0)),
    )
    assert told(found) == (
        "minilm: cosine of the vectors, fingerprint f00d\n"
        "\n"
        "                  1      2\n"
        "1 one          1.00  -0.25\n"
        "2 two lines   -0.25   1.00"
    )


def test_a_table_of_queries_lists_them() -> None:
    found = Comparison(
        model="ranker",
        fingerprint="",
        measure="score",
        texts=("東京タワー", "soup"),
        queries=("tower", "meal"),
        values=((0.9, 0.1), (0.05, 12.5)),
    )
    assert told(found) == (
        "ranker: score of query and text\n"
        "\n"
        "q1: tower\n"
        "q2: meal\n"
        "\n"
        "                q1     q2\n"
        "東京タワー    0.90   0.10\n"
        "soup          0.05  12.50"
    )

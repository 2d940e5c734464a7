"""Golden vectors: what is written is read again, and what cannot be is refused with its place."""

import math
import struct
from dataclasses import replace
from typing import Any

import pytest

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.golden import (
    Golden,
    GoldenAdapter,
    GoldenText,
    adapter_key,
    cosine,
    golden_config_map,
    packed,
    read_golden,
    unpacked,
)

#: As a float32 has them, so that nothing is rounded on the way.
VECTORS = ((0.5, -0.25, 0.0), (1.0, 2.0, -3.5))
GOLDEN = Golden(
    model="minilm",
    dimensions=3,
    fingerprint="f00d",
    texts=(
        GoldenText(text="Straße\n🙂", side="query", vector=VECTORS[0]),
        GoldenText(text="lunch", side=None, vector=VECTORS[1]),
    ),
)


def config_map(data: str, dimensions: str = "3") -> dict[str, Any]:
    metadata = {"name": "mine", "annotations": {"kubeembed.dev/dimensions": dimensions}}
    return {"metadata": metadata, "data": {"golden.jsonl": data}}


def line(vector: str) -> str:
    return '{"text": "a", "vector": "' + vector + '"}\n'


def test_it_is_a_line_of_json_for_each_text() -> None:
    assert golden_config_map(GOLDEN, "minilm-golden", "search") == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "annotations": {"kubeembed.dev/dimensions": "3", "kubeembed.dev/fingerprint": "f00d"},
            "labels": {"kubeembed.dev/model": "minilm"},
            "name": "minilm-golden",
            "namespace": "search",
        },
        "data": {
            "golden.jsonl": '{"text": "Straße\\n🙂", "side": "query", "vector": "AAAAPwAAgL4AAAAA"}\n'
            '{"text": "lunch", "vector": "AACAPwAAAEAAAGDA"}\n'
        },
    }


def test_what_is_written_is_read_again() -> None:
    assert read_golden(golden_config_map(GOLDEN, "minilm-golden", "search")) == GOLDEN


def test_adapters_have_keys_of_their_own() -> None:
    [first, _] = GOLDEN.texts
    adapters = {"legal": GoldenAdapter(fingerprint="feed", texts=(first,))}
    both = replace(GOLDEN, adapters=adapters)
    made = golden_config_map(both, "minilm-golden", "search")
    assert sorted(made["data"]) == ["golden.jsonl", "golden.legal.jsonl"]
    [written, _] = made["data"]["golden.jsonl"].splitlines(keepends=True)
    assert made["data"][adapter_key("legal")] == written
    told = made["metadata"]["annotations"]["kubeembed.dev/adapter-fingerprints"]
    assert told == '{"legal": "feed"}'
    assert read_golden(made) == both
    made["data"]["golden.legal.jsonl"] = "{}"
    with pytest.raises(InvalidSpec, match="ConfigMap minilm-golden, adapter legal, line 1: text"):
        read_golden(made)


def test_vectors_are_little_endian_float32() -> None:
    assert unpacked(packed(VECTORS[1])) == VECTORS[1]
    assert packed((1.0,)) == "AACAPw=="
    assert unpacked("AACAPw==") == struct.unpack("<f", b"\x00\x00\x80\x3f")


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        pytest.param(
            {"metadata": {"name": "mine"}},
            "ConfigMap mine: has no key golden.jsonl; `kubeembed golden` writes it",
            id="no key",
        ),
        pytest.param(
            config_map(line(packed(VECTORS[0])), "many"),
            "ConfigMap mine: annotation kubeembed.dev/dimensions is 'many'; write a number",
            id="dimensions",
        ),
        pytest.param(
            config_map(line(packed(VECTORS[0])) + line(packed((1.0,)))),
            "ConfigMap mine, line 2: vector has 1 dimensions; kubeembed.dev/dimensions says 3",
            id="another length",
        ),
        pytest.param(
            config_map(line("AAA")),
            "ConfigMap mine, line 1: vector: Incorrect padding",
            id="no base64",
        ),
        pytest.param(
            config_map(line("AAAA")),
            "ConfigMap mine, line 1: vector: 3 bytes are no whole number of float32",
            id="no float32",
        ),
        pytest.param(
            config_map('{"text": "a", "side": "left", "vector": ""}'),
            "ConfigMap mine, line 1: side: Input should be 'query' or 'document'",
            id="side",
        ),
        pytest.param(
            config_map('{"txt": "a"}'),
            "ConfigMap mine, line 1: text: Field required",
            id="field",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(found: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        read_golden(found)
    assert str(refused.value) == problem


def test_more_than_a_config_map_holds_is_refused_with_how_many_texts_it_holds() -> None:
    vector = (0.5,) * 1024
    texts = tuple(GoldenText(text=f"{n:4}", side=None, vector=vector) for n in range(200))
    size = len(golden_config_map(_of(texts[:1]), "mine", "search")["data"]["golden.jsonl"])
    fit = 1_048_576 // size
    assert golden_config_map(_of(texts[:fit]), "mine", "search")
    with pytest.raises(InvalidSpec) as refused:
        golden_config_map(_of(texts), "mine", "search")
    assert str(refused.value) == (
        f"ConfigMap mine: holds 1048576 bytes, which is {fit} of these 200 texts; send fewer"
    )


def test_of_adapters_it_holds_as_many_texts_together() -> None:
    texts = tuple(GoldenText(text=f"{n:4}", side=None, vector=(0.5,) * 1024) for n in range(100))
    both = replace(_of(texts), adapters={"a": GoldenAdapter(fingerprint="f", texts=texts)})
    with pytest.raises(InvalidSpec, match=r"of the model's and 1 adapters' 200 texts; send fewer"):
        golden_config_map(both, "mine", "search")


def _of(texts: tuple[GoldenText, ...]) -> Golden:
    return Golden(model="minilm", dimensions=1024, fingerprint="f00d", texts=texts)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((1.0, 0.0), (2.0, 0.0), 1), ((1.0, 0.0), (0.0, 3.0), 0), ((0.0, 0.0), (1.0, 1.0), 0)],
)
def test_cosine(one: tuple[float, ...], other: tuple[float, ...], expected: float) -> None:
    assert cosine(one, other) == expected


def test_a_text_may_have_any_separator_in_it() -> None:
    odd = "one\u2028two\x85three\r\nfour"
    golden = Golden(
        model="minilm",
        dimensions=3,
        fingerprint="f00d",
        texts=(GoldenText(text=odd, side=None, vector=(1.0, 0.0, 0.0)),) * 2,
    )
    assert read_golden(golden_config_map(golden, "mine", "search")) == golden


def test_a_vector_with_a_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="line 1: vector: has a value that is no number"):
        read_golden(config_map(line(packed((1.0, math.nan, 0.0)))))

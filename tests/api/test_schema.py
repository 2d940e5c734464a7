"""The CRD's schema and the typed values say the same: names, types, defaults, enums, bounds."""

from pathlib import Path
from typing import Any

import yaml

from kubeembed_api.sources import SCHEMES
from kubeembed_api.spec import Spec

CRD = yaml.safe_load(
    (Path(__file__).parents[2] / "crds" / "embeddingmodels.yaml").read_text(encoding="utf-8")
)
VERSION = CRD["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]

#: What both sides say of a value, in the words of JSON Schema.
FACTS = ("type", "enum", "minimum", "maximum", "pattern", "minLength", "minItems", "maxItems")


def flat(schema: dict[str, Any], path: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Field path -> facts, references and 'or null' resolved."""
    schema = resolve(schema, definitions)
    found = {path: {fact: schema[fact] for fact in FACTS if fact in schema}}
    if "exclusiveMinimum" in schema:
        found[path]["minimum"] = 0
    for name, value in schema.get("properties", {}).items():
        found |= flat(value, f"{path}.{name}", definitions)
    if "items" in schema:
        found |= flat(schema["items"], f"{path}[]", definitions)
    return found


def resolve(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    for choice in schema.get("anyOf", ()):
        if choice != {"type": "null"}:
            return resolve(choice, definitions)
    if "$ref" in schema:
        return resolve(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    return schema


def required(schema: dict[str, Any], path: str, definitions: dict[str, Any]) -> set[str]:
    schema = resolve(schema, definitions)
    found = {f"{path}.{name}" for name in schema.get("required", ())}
    for name, value in schema.get("properties", {}).items():
        found |= required(value, f"{path}.{name}", definitions)
    return found | (
        required(schema["items"], f"{path}[]", definitions) if "items" in schema else set()
    )


def defaults(schema: dict[str, Any]) -> Any:
    """What the API server makes of an empty object: the defaults, nested."""
    properties = schema.get("properties", {})
    filled = {name: defaults(value) for name, value in properties.items() if "default" in value}
    return filled if properties else schema["default"]


TYPED = Spec.model_json_schema(by_alias=True)
IN_CLUSTER = SCHEMA["properties"]["spec"]


def test_both_have_the_same_fields_with_the_same_bounds() -> None:
    typed = flat(TYPED, "spec", TYPED["$defs"])
    cluster = flat(IN_CLUSTER, "spec", {})
    assert cluster.keys() == typed.keys()
    for path, facts in typed.items():
        # the cluster bounds more: CEL's cost is estimated from the lengths of strings
        assert {fact: cluster[path].get(fact) for fact in facts} == facts, path


def test_both_require_the_same_fields() -> None:
    assert required(IN_CLUSTER, "spec", {}) == required(TYPED, "spec", TYPED["$defs"])


def test_both_apply_the_same_defaults() -> None:
    typed = Spec.model_validate({"model": {"source": "hf://a/b"}}).model_dump(
        by_alias=True, exclude_none=True, mode="json"
    )
    typed["model"].pop("source")
    typed.pop("adapters")
    assert {**defaults(IN_CLUSTER), "model": {"trustRemoteCode": False}} == typed


def test_every_field_is_explained() -> None:
    silent = [path for path in _undescribed(SCHEMA["properties"]["spec"], "spec")]
    silent += [path for path in _undescribed(SCHEMA["properties"]["status"], "status")]
    assert silent == []


def _undescribed(schema: dict[str, Any], path: str) -> list[str]:
    below = [
        p for n, v in schema.get("properties", {}).items() for p in _undescribed(v, f"{path}.{n}")
    ]
    below += (
        _undescribed(schema["items"], f"{path}[]")
        if "properties" in schema.get("items", {})
        else []
    )
    has_words = "description" in schema or path.endswith("[]") or "conditions[]" in path
    return below if has_words else [path, *below]


def test_every_scheme_of_the_cluster_is_one_of_ours() -> None:
    rule = IN_CLUSTER["properties"]["model"]["x-kubernetes-validations"][0]["rule"]
    in_cluster = set(rule.split("(", 2)[2].split(")")[0].split("|"))
    assert in_cluster == set(SCHEMES) - {"file"}


def test_the_columns_are_those_that_the_design_names() -> None:
    columns = [c["name"] for c in VERSION["additionalPrinterColumns"] if not c.get("priority")]
    assert columns == [
        "Ready",
        "Reason",
        "Dim",
        "Replicas",
        "Weights",
        "Adapters",
        "Endpoint",
        "Age",
    ]

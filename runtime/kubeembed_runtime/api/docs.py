"""An OpenAPI description -> a page for people: plain HTML with its own style, no script, nothing fetched.

It has to be readable in clusters that reach no internet, so there is no viewer from a content network.
"""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

Json = dict[str, Any]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 14px; }
pre { overflow: auto; padding: .8rem; border: 1px solid #8884; border-radius: 4px; }
h2 { border-bottom: 1px solid #8884; margin-top: 2.5rem; }
h3 b { display: inline-block; min-width: 3.5rem; }
td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
:root { color-scheme: light dark; }
"""


def page(description: Json) -> str:
    """The whole document."""
    title = escape(description["info"]["title"])
    parts = description["components"]
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
            f"<p>Version {escape(description['info']['version'])}. For programs: ",
            '<a href="openapi.json">openapi.json</a>.</p>',
            *_contents(description["paths"]),
            *_operations(description["paths"], parts),
            "<h2>Bodies</h2>",
            *(_schema(name, schema) for name, schema in sorted(parts["schemas"].items())),
            "</body></html>",
        )
    )


def _contents(paths: Json) -> Iterator[str]:
    yield "<ul>"
    for path, method, operation in _each(paths):
        link = f'<a href="#{operation["operationId"]}"><code>{method} {escape(path)}</code></a>'
        yield f"<li>{link} {escape(operation['summary'])}</li>"
    yield "</ul>"


def _operations(paths: Json, parts: Json) -> Iterator[str]:
    last = ""
    for path, method, operation in _each(paths):
        tag = operation["tags"][0]
        if tag != last:
            yield f"<h2>{escape(tag)}</h2>"
            last = tag
        yield f'<h3 id="{operation["operationId"]}"><b>{method}</b> <code>{escape(path)}</code></h3>'
        yield f"<p>{escape(operation['summary'])}.</p><table>"
        yield from (_parameter(one, parts) for one in operation["parameters"])
        if "requestBody" in operation:
            yield f"<tr><td>body</td><td>{_content(operation['requestBody'])}</td><td></td></tr>"
        for status, response in operation["responses"].items():
            words = escape(response["description"])
            yield f"<tr><td>{status}</td><td>{_content(response)}</td><td>{words}</td></tr>"
        yield "</table>"


def _each(paths: Json) -> list[tuple[str, str, Json]]:
    """By contract, and within it in the order of its routes."""
    found = [
        (path, method.upper(), operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]
    tags = list(dict.fromkeys(operation["tags"][0] for _, _, operation in found))
    return sorted(found, key=lambda one: tags.index(one[2]["tags"][0]))


def _parameter(parameter: Json, parts: Json) -> str:
    if "$ref" in parameter:
        parameter = parts["parameters"][parameter["$ref"].rpartition("/")[2]]
    name, words = escape(parameter["name"]), escape(parameter.get("description", ""))
    return f"<tr><td>{parameter['in']}</td><td><code>{name}</code></td><td>{words}</td></tr>"


def _content(holder: Json) -> str:
    """Its schema, and as which media types it comes."""
    content: Json = holder.get("content", {})
    if not content:
        return ""
    schema = next(iter(content.values()))["schema"]
    return f"{_named(schema)} <small>{escape(', '.join(content))}</small>"


def _named(schema: Json) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}"><code>{name}</code></a>'
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        return f"list of {_named(schema['items'])}"
    choices = schema.get("anyOf", ())
    if choices:
        return " or ".join(_named(choice) for choice in choices)
    return f"<code>{escape(str(schema.get('type', 'any')))}</code>"


def _schema(name: str, schema: Json) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    name = escape(name)
    return f'<h3 id="schema-{name}"><code>{name}</code></h3><pre>{text}</pre>'

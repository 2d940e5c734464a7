"""`kubeembed golden NAME --texts FILE`: today's vectors, as the ConfigMap that a roll-out is held to.

With --adapter those of an adapter, too, of the same texts, that each change of it is held to.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kubeembed_api.golden import (
    Golden,
    GoldenAdapter,
    GoldenText,
    Side,
    Vector,
    golden_config_map,
)
from kubeembed_cli.cluster import connect
from kubeembed_cli.errors import CommandFailed, NotServing
from kubeembed_cli.server import Server, serving
from kubeembed_cli.trying import api_key


class Asked(BaseModel):
    """A line of a .jsonl file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1)
    side: Side | None = None


def golden(options: argparse.Namespace) -> int:
    """The exit status."""
    if ":" in options.name:
        model, _, adapter = options.name.partition(":")
        problem = f"{options.name} is an adapter; write {model} --adapter {adapter}"
        raise CommandFailed(f"{problem}: a ConfigMap has the vectors of the model, too")
    texts = read_texts(options.texts, options.side)
    cluster, key = connect(options.context, options.namespace), api_key(options)
    name = options.config_map or f"{options.name}-golden"
    server = serving(cluster, options.name, key)
    names = [*dict.fromkeys(options.adapter)]
    check_room(server, texts, names, name)
    found = ask(server, texts)
    adapters = {  # of the same pod: another one may have another base
        adapter: ask(server.named(f"{options.name}:{adapter}"), texts) for adapter in names
    }
    found = with_adapters(found, adapters)
    config_map = golden_config_map(found, name, cluster.namespace)
    size = sum(len(each.encode()) for each in config_map["data"].values())
    also = f", also of {', '.join(found.adapters)}" if found.adapters else ""
    about = f"{len(texts)} texts{also}, {found.dimensions} dimensions, {size:,} bytes"
    about += f", fingerprint {found.fingerprint}"
    if options.apply:
        cluster.apply(config_map)
        print(f"ConfigMap {name} in namespace {cluster.namespace}: {about}")
        return 0
    # not `kubectl apply` as it is: it would put all of it into an annotation, which has no room
    print(f"{about}; apply it with `kubectl apply --server-side -f -`", file=sys.stderr)
    yaml.dump(config_map, sys.stdout, _Dumper, allow_unicode=True, sort_keys=False, width=2**31)
    return 0


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as one that a person can read."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def with_adapters(base: Golden, adapters: Mapping[str, Golden]) -> Golden:
    """One value of what was asked of the model and of each of its adapters."""
    told = {
        name: GoldenAdapter(fingerprint=one.fingerprint, texts=one.texts)
        for name, one in adapters.items()
    }
    return replace(base, adapters=told)


def check_room(
    server: Server, texts: Sequence[Asked], adapters: Sequence[str], config_map: str
) -> None:
    """Whether the vectors of all have room there, before they are asked for: that may take an hour. Raises
    InvalidSpec, NotServing."""
    if "dense" not in server.about().outputs:
        return  # which `ask` tells
    [vector] = server.embed([texts[0].text], texts[0].side)
    made = tuple(GoldenText(text=one.text, side=one.side, vector=vector) for one in texts)
    like = Golden(model=server.name, dimensions=len(vector), fingerprint="", texts=made)
    golden_config_map(with_adapters(like, dict.fromkeys(adapters, like)), config_map, "")


def ask(server: Server, texts: Sequence[Asked]) -> Golden:
    """Raises NotServing: also where the model has no dense vectors, or changed meanwhile."""
    about = server.about()
    if not about.fingerprint:  # an adapter that nobody has asked for yet
        server.embed([texts[0].text], texts[0].side)
        about = server.about()
    if "dense" not in about.outputs:
        gives = ", ".join(about.outputs)
        raise NotServing(f"{about.name} gives {gives}; golden vectors are of dense outputs")
    sides: list[Side | None] = list(dict.fromkeys(one.side for one in texts))
    vectors: dict[tuple[str, Side | None], Vector] = {}
    for side in sides:
        wanted = [one.text for one in texts if one.side == side]
        vectors |= zip(((text, side) for text in wanted), server.embed(wanted, side), strict=True)
    if server.about().fingerprint != about.fingerprint:
        raise NotServing(f"{about.name} was rolled out meanwhile; ask again")
    made = (GoldenText(text=t.text, side=t.side, vector=vectors[t.text, t.side]) for t in texts)
    found = tuple(made)
    return Golden(
        model=about.name,
        dimensions=len(found[0].vector),
        fingerprint=about.fingerprint,
        texts=found,
    )


def read_texts(path: Path, side: Side | None) -> tuple[Asked, ...]:
    """A text per line, or {"text", "side"} in a .jsonl; `side` where none is named. Raises CommandFailed."""
    try:
        lines = path.read_text().split("\n")  # at nothing else: texts may have U+2028 in them
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"--texts {path}: {error}") from error
    read = _json_lines if path.suffix == ".jsonl" else _lines
    found = [
        one if one.side else one.model_copy(update={"side": side}) for one in read(path, lines)
    ]
    if not found:
        raise CommandFailed(f"--texts {path} has no texts; write one per line")
    seen = set[Asked]()
    for one in found:
        if one in seen:
            raise CommandFailed(f"--texts {path} has {one.text!r} twice; leave one out")
        seen.add(one)
    return tuple(found)


def _lines(path: Path, lines: Sequence[str]) -> Iterator[Asked]:
    for line in lines:
        if line.strip():
            yield Asked(text=line)


def _json_lines(path: Path, lines: Sequence[str]) -> Iterator[Asked]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield Asked.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "JSON"
            raise CommandFailed(
                f"--texts {path}, line {number}: {field}: {first['msg']}"
            ) from error

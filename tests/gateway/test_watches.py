"""Lists and watches by a cluster that fails on demand: nothing is missed, and nothing known is lost."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gatewaykit import NAMESPACE, model
from kubeembed_gateway import watches
from kubeembed_gateway.cluster import ApiError, Cluster, Watched
from kubeembed_gateway.metrics import Metrics
from kubeembed_gateway.table import MODELS, Table
from kubeembed_gateway.watches import Watches

Event = tuple[str, dict[str, Any]]


def named(name: str, version: str) -> dict[str, Any]:
    made = model(name)
    made["metadata"]["resourceVersion"] = version
    return made


@dataclass
class Script:
    """Of models: what each list and each watch brings in turn; an error is raised. Other kinds are silent."""

    lists: list[Any]
    watches: list[list[Event | ApiError]]
    asked: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def listed(self, watched: Watched) -> tuple[list[dict[str, Any]], str]:
        if watched.kind != MODELS:
            return [], "1"
        self.asked.append("list")
        found = self.lists.pop(0)
        if isinstance(found, ApiError):
            raise found
        return found, "10"

    async def watch(self, watched: Watched, version: str) -> AsyncIterator[Event]:
        if watched.kind != MODELS or not self.watches:
            if watched.kind == MODELS:
                self.asked.append(f"watch {version}")
                self.over.set()
            await asyncio.Event().wait()
        self.asked.append(f"watch {version}")
        for event in self.watches.pop(0):
            if isinstance(event, ApiError):
                raise event
            yield event


async def played(script: Script) -> Table:
    """The table once the script is over."""
    table = Table()
    made = Watches(cast(Cluster, script), table, Metrics(), lambda: None)
    running = asyncio.create_task(made.run())
    async with asyncio.timeout(30):
        await script.over.wait()
    assert made.synced
    running.cancel()
    await asyncio.wait([running])
    return table


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "BACKOFF", 0.01)


async def test_a_watch_that_ends_goes_on_where_it_was() -> None:
    script = Script(
        lists=[[named("a", "8"), named("b", "9")]],
        watches=[
            [("ADDED", named("c", "12")), ("DELETED", named("a", "13"))],
            [("BOOKMARK", {"metadata": {"resourceVersion": "40"}}), ApiError(0, "broken off")],
            [("MODIFIED", named("b", "41"))],
        ],
    )
    table = await played(script)
    assert set(table.models) == {(NAMESPACE, "b"), (NAMESPACE, "c")}
    assert script.asked == ["list", "watch 10", "watch 13", "watch 40", "watch 41"]


async def test_a_version_that_the_api_server_has_forgotten_costs_a_list() -> None:
    script = Script(
        lists=[[named("a", "8")], [named("b", "9")]],
        watches=[[ApiError(410, "too old resource version")]],
    )
    table = await played(script)
    assert set(table.models) == {(NAMESPACE, "b")}
    assert script.asked == ["list", "watch 10", "list", "watch 10"]


async def test_what_is_known_stays_while_the_api_server_is_away() -> None:
    away = [ApiError(0, "refused") for _ in range(5)]
    script = Script(lists=[*away, [named("a", "8")]], watches=[[each] for each in away])
    table = await played(script)
    assert set(table.models) == {(NAMESPACE, "a")}
    assert script.asked == ["list"] * 6 + ["watch 10"] * 6

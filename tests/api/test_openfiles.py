"""A server has as many connections as its container lets it, up to what it can bear."""

import resource
from collections.abc import Iterator

import pytest

from kubeembed_api import openfiles


@pytest.fixture
def hard() -> Iterator[int]:
    """The soft limit is low, and put back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def soft() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_no_more_files_are_asked_for_than_needed(hard: int) -> None:
    assert openfiles.pairs(40) == 40
    assert soft() == 600
    assert openfiles.pairs(100) == 100
    assert soft() == 2 * 100 + openfiles.OTHER_FILES


def test_it_makes_do_with_what_is_to_be_had(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (600, 800))
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert openfiles.pairs(1_000_000) == (800 - openfiles.OTHER_FILES) // 2
    assert asked == [(800, 800)]


def test_no_bound_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (600, resource.RLIM_INFINITY))
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert openfiles.pairs(1000) == 1000
    assert asked == [(2000 + openfiles.OTHER_FILES, resource.RLIM_INFINITY)]

"""Words and figures -> what fits into a terminal."""

import io

import pytest

from evidencekit import NOW
from kubeembed_cli.terminal import cells, field, fitted, styled, table
from kubeembed_cli.times import since, span


class Terminal(io.StringIO):
    """What a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("short", 8, "short   "),
        ("longer than that", 8, "longer …"),
        ("two\n lines", 9, "two lines"),
        ("東京タワー", 8, "東京タ… "),
        ("cafe\u0301", 5, "cafe\u0301 "),
    ],
    ids=["short", "long", "lines", "wide", "combining"],
)
def test_a_text_takes_the_room_it_is_given(text: str, room: int, expected: str) -> None:
    assert fitted(text, room) == expected
    assert cells(fitted(text, room)) == room


def test_long_rows_are_cut_so_that_the_figures_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    assert table(["a" * 60, "b"], ["1", "2"], [[1, 0.5], [0.5, 1]]) == (
        "                       1     2\n"
        "aaaaaaaaaaaaaaaaa…  1.00  0.50\n"
        "b                   0.50  1.00"
    )


def test_a_field_is_wrapped_under_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    assert field("Says", "one two three four") == "  Says      one two three four"
    assert field("Says", "one two three four five") == (
        "  Says      one two three four\n            five"
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "\x1b[31mno\x1b[0m"), ({"NO_COLOR": "1"}, "no"), ({"TERM": "dumb"}, "no")],
    ids=["terminal", "NO_COLOR", "dumb"],
)
def test_styles_are_for_terminals_that_want_them(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert styled("no", "red", Terminal()) == expected
    assert styled("no", "red", io.StringIO()) == "no"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-2, "0 s"), (119, "119 s"), (600, "10 min"), (7200, "2 h"), (400_000, "5 d")],
)
def test_spans_are_told_in_their_unit(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


def test_a_moment_is_told_by_how_long_it_is_past() -> None:
    assert since("2026-01-01T11:58:00Z", NOW) == "for 2 min"

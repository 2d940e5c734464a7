"""Words and figures -> what a terminal shows: styles where there is one, tables that fit, wrapped text."""

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
#: Wider lines are hard to read, whatever the terminal.
WIDEST = 110
LABEL = 10


def styled(text: str, style: str, out: TextIO | None = None) -> str:
    """Plain where nobody looks, or where NO_COLOR asks for it (no-color.org)."""
    out = out or sys.stdout
    if not out.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def width() -> int:
    return min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)


def field(label: str, text: str) -> str:
    """`  Label     text`, wrapped under itself."""
    indent = " " * (2 + LABEL)
    lines = textwrap.wrap(
        text, width() - len(indent), break_long_words=False, break_on_hyphens=False
    )
    rest = "".join(f"\n{indent}{line}" for line in lines[1:])
    return f"  {styled(f'{label:<{LABEL}}', 'dim')}{lines[0] if lines else ''}{rest}"


def cells(text: str) -> int:
    """Columns of a terminal that a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def fitted(text: str, room: int) -> str:
    """On one line and of exactly `room` columns: cut with an ellipsis, or filled up."""
    flat = " ".join(text.split())
    if cells(flat) > room:
        while cells(flat) > room - 1:
            flat = flat[:-1]
        flat += "…"
    return flat + " " * (room - cells(flat))


def table(rows: Sequence[str], columns: Sequence[str], figures: Sequence[Sequence[float]]) -> str:
    """Numbers with two decimals under their heads; as much of each row's text as fits."""
    texts = [[f"{value:.2f}" for value in row] for row in figures]
    wide = [
        max(cells(head), *(len(row[place]) for row in texts)) + 2
        for place, head in enumerate(columns)
    ]
    longest = max(cells(" ".join(row.split())) for row in rows)
    room = max(min(longest, width() - sum(wide)), 12)
    lines = [" " * room + "".join(head.rjust(w) for head, w in zip(columns, wide, strict=True))]
    for row, values in zip(rows, texts, strict=True):
        told = "".join(value.rjust(w) for value, w in zip(values, wide, strict=True))
        lines.append(fitted(row, room) + told)
    return "\n".join(lines)

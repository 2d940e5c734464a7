"""The golden vectors that a process finds beside it, and whether they are those that are meant.

A pod's files are the user's ConfigMap as kubelet has brought it: a minute old at times, or newer than the
roll-out. The operator says by digests which vectors it read. A pod waits for those, and is never held to
others. Once its roll-out was through it does not wait: those vectors may be gone, and a pod that is lost has
to come back as it was.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.golden import (
    ADAPTER_KEY,
    GOLDEN_KEY,
    Digests,
    GoldenText,
    adapter_key,
    digests,
    read_texts,
)
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import AdapterUnproven, StartFailed

logger = logging.getLogger(__name__)

#: Seconds until kubelet has brought the newest ConfigMap for certain, and between two looks.
WAIT, POLL = 180.0, 0.5

WRITES = "`kubeembed golden` writes them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The texts of a file, and how near their vectors have to be; without texts the model is not compared.

    Those of adapters lie beside `path`. rolled_out: the file that is there once the roll-out that this
    process is of was through; None outside of a cluster. seen: the lines of each key as they are meant.
    """

    path: Path
    texts: tuple[GoldenText, ...]
    min_cosine: float
    rolled_out: Path | None = None
    seen: Mapping[str, str] | None = None

    @property
    def rolls_out(self) -> bool:
        """Whether this process is of a roll-out that stops where something is amiss."""
        return self.rolled_out is not None and not self.rolled_out.exists()

    def holds(self, adapter: str) -> bool:
        """Whether there are golden vectors of that adapter."""
        if self.rolls_out and self.seen is not None:
            return adapter_key(adapter) in self.seen
        return self.path.with_name(adapter_key(adapter)).exists()

    def lines(self, adapter: str) -> str | None:
        """Those of an adapter, if there are any: in a roll-out those that it is meant to be held to, and
        otherwise what lies there now. Raises OSError, UnicodeDecodeError."""
        if self.rolls_out and self.seen is not None:
            return self.seen.get(adapter_key(adapter))
        try:
            return self.path.with_name(adapter_key(adapter)).read_text()
        except FileNotFoundError:
            return None


def read(
    path: Path,
    min_cosine: float,
    *,
    meant: Digests | None = None,
    rolled_out: Path | None = None,
    wait: float = WAIT,
) -> Golden:
    """meant: of the ConfigMap as the operator read it; None: whatever is there.

    Raises StartFailed for a file that is not there, holds nothing, has a line that cannot be read, or is
    another after so many seconds; and for a cosine that cannot be.
    """
    if not 0 < min_cosine <= 1:  # NaN as well: no cosine is below it
        problem = f"--min-cosine is {min_cosine}; write a number above 0 and up to 1"
        raise StartFailed(Reason.INVALID_SPEC, problem)
    made = Golden(path=path, texts=(), min_cosine=min_cosine, rolled_out=rolled_out)
    if meant is None:
        return replace(made, texts=_base_texts(path, _text_of(path)))
    seen = _seen(made, meant, wait)
    if digests(seen).base != meant.base:
        logger.warning("vectors are not compared: %s is not of this roll-out any more", path)
        return made
    return replace(made, texts=_base_texts(path, seen.get(GOLDEN_KEY)), seen=seen)


def adapter_texts(golden: Golden, name: str) -> tuple[GoldenText, ...]:
    """None where there are none. Raises AdapterUnproven."""
    path = golden.path.with_name(adapter_key(name))
    try:
        lines = golden.lines(name)
    except (OSError, UnicodeDecodeError) as error:
        raise _unproven(f"{path}: {error}") from error
    return () if lines is None else _adapter_texts(lines, str(path))


def told_texts(lines: str, name: str) -> tuple[GoldenText, ...]:
    """Of lines that came with an adapter. Raises AdapterUnproven."""
    return _adapter_texts(lines, adapter_key(name)) if lines else ()


def _adapter_texts(lines: str, where: str) -> tuple[GoldenText, ...]:
    """Raises AdapterUnproven."""
    if not lines.strip():
        raise _unproven(f"{where} holds no texts")
    try:
        return read_texts(lines, where)
    except InvalidSpec as error:
        raise _unproven(str(error)) from error


def _unproven(message: str) -> AdapterUnproven:
    return AdapterUnproven(f"golden vectors: {message}; {WRITES}")


def _seen(golden: Golden, meant: Digests, wait: float) -> dict[str, str]:
    """The lines of each key that lies there, once they are what is meant, or once nobody has to wait for it.

    Raises StartFailed.
    """
    folder, ends = golden.path.parent, time.monotonic() + wait
    while digests(found := _files(folder)) != meant and golden.rolls_out:
        if time.monotonic() > ends:
            _unreadable(
                f"{folder} holds others than the operator read for this roll-out: they were written anew,"
                " and it reads them again, or kubelet has not brought them yet"
            )
        time.sleep(POLL)
    return found


def _files(folder: Path) -> dict[str, str]:
    """As the keys of the ConfigMap were, byte by byte. Raises StartFailed."""
    if not folder.is_dir():
        return {}
    names = [one.name for one in folder.iterdir()]
    found = {}
    for key in names:
        if key == GOLDEN_KEY or ADAPTER_KEY.fullmatch(key):
            try:
                found[key] = (folder / key).read_bytes().decode(errors="replace")
            except FileNotFoundError:  # kubelet put other files there meanwhile
                continue
            except OSError as error:
                _unreadable(f"{folder / key}: {error}")
    return found


def _text_of(path: Path) -> str | None:
    """None where there is no such file. Raises StartFailed."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        _unreadable(f"{path}: {error}")


def _base_texts(path: Path, text: str | None) -> tuple[GoldenText, ...]:
    """Raises StartFailed."""
    if text is None:
        _unreadable(f"{path} is not there: the ConfigMap, or its key {GOLDEN_KEY}, does not exist")
    if not text.strip():
        _unreadable(f"{path} holds no texts")
    try:
        return read_texts(text, str(path))
    except InvalidSpec as error:
        _unreadable(str(error))


def _unreadable(message: str) -> NoReturn:
    raise StartFailed(Reason.GOLDEN_UNREADABLE, f"golden vectors: {message}; {WRITES}")

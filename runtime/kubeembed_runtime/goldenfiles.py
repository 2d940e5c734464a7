"""The golden vectors that a process finds beside it, and whether they are those that are meant.

A pod's files are the user's ConfigMap as kubelet has brought it: a minute old at times, or newer than the
roll-out. The operator says by digests which vectors it read. A pod waits for those, and is never held to
others. Once its roll-out was through it does not wait: those vectors may be gone, and a pod that is lost has
to come back as it was.
"""

import logging
import time
from dataclasses import dataclass
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
    process is of was through; None outside of a cluster.
    """

    path: Path
    texts: tuple[GoldenText, ...]
    min_cosine: float
    rolled_out: Path | None = None

    @property
    def rolls_out(self) -> bool:
        """Whether this process is of a roll-out that stops where something is amiss."""
        return self.rolled_out is not None and not self.rolled_out.exists()

    def holds(self, adapter: str) -> bool:
        """Whether there are golden vectors of that adapter."""
        return self.path.with_name(adapter_key(adapter)).exists()


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
    another after so many seconds.
    """
    made = Golden(path=path, texts=(), min_cosine=min_cosine, rolled_out=rolled_out)
    if meant is not None and _seen(made, meant, wait).base != meant.base:
        logger.warning("vectors are not compared: %s is not of this roll-out any more", path)
        return made
    return Golden(path=path, texts=_base_texts(path), min_cosine=min_cosine, rolled_out=rolled_out)


def adapter_texts(golden: Golden, name: str) -> tuple[GoldenText, ...]:
    """Of the file beside the base's, as it is now; none where there is none. Raises AdapterUnproven."""
    path = golden.path.with_name(adapter_key(name))
    try:
        return read_texts(path.read_text(), str(path))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, InvalidSpec) as error:
        said = str(error) if isinstance(error, InvalidSpec) else f"{path}: {error}"
        raise AdapterUnproven(f"golden vectors: {said}; {WRITES}") from error


def told_texts(lines: str, name: str) -> tuple[GoldenText, ...]:
    """Of lines that came with an adapter. Raises AdapterUnproven."""
    if not lines:
        return ()
    try:
        return read_texts(lines, adapter_key(name))
    except InvalidSpec as error:
        raise AdapterUnproven(f"golden vectors: {error}; {WRITES}") from error


def _seen(golden: Golden, meant: Digests, wait: float) -> Digests:
    """What lies there once it is what is meant, or once nobody has to wait for that. Raises StartFailed."""
    folder, ends = golden.path.parent, time.monotonic() + wait
    while (found := digests(_files(folder))) != meant and golden.rolls_out:
        if time.monotonic() > ends:
            _unreadable(
                f"{folder} holds others than the operator read for this roll-out: they were written anew,"
                " and it reads them again, or kubelet has not brought them yet"
            )
        time.sleep(POLL)
    return found


def _files(folder: Path) -> dict[str, str]:
    """As the keys of the ConfigMap were, byte by byte."""
    if not folder.is_dir():
        return {}
    names = [one.name for one in folder.iterdir()]
    keys = [name for name in names if name == GOLDEN_KEY or ADAPTER_KEY.fullmatch(name)]
    return {key: (folder / key).read_bytes().decode(errors="replace") for key in keys}


def _base_texts(path: Path) -> tuple[GoldenText, ...]:
    """Raises StartFailed."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        _unreadable(f"{path} is not there: the ConfigMap, or its key {GOLDEN_KEY}, does not exist")
    except (OSError, UnicodeDecodeError) as error:
        _unreadable(f"{path}: {error}")
    if not text.strip():
        _unreadable(f"{path} holds no texts")
    try:
        return read_texts(text, str(path))
    except InvalidSpec as error:
        _unreadable(str(error))


def _unreadable(message: str) -> NoReturn:
    raise StartFailed(Reason.GOLDEN_UNREADABLE, f"golden vectors: {message}; {WRITES}")

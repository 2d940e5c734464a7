"""API keys of the common address: a folder of files, as a Secret is mounted -> who may ask for which model.

A file is called NAMESPACE, or NAMESPACE.MODEL for one model, whose own keys then count in place of its
namespace's. A model that no file is about asks for no key here.
"""

import asyncio
import logging
import re
from pathlib import Path

from kubeembed_api.apikeys import digests, lacks
from kubeembed_api.errors import KubeEmbedError
from kubeembed_gateway.errors import Refused
from kubeembed_gateway.reading import Key

logger = logging.getLogger(__name__)

#: How old a key may be that was taken out of a file, and one that was put in.
REREAD_SECONDS = 5.0

LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
NAME = re.compile(rf"{LABEL}(\.{LABEL})?")


class KeysError(KubeEmbedError):
    """The folder can't be read, or has what is no entry. Names the file."""


class Keys:
    """folder: None asks nobody. A file without a key lets nobody in. Raises KeysError."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known = _read(folder) if folder is not None else {}

    def check(self, model: Key, authorization: str | None) -> bool:
        """Whether a key was asked for. authorization: as aiohttp reads that header. Raises Refused."""
        known = self._of(model)
        if known is None:
            return False
        sent = None if authorization is None else authorization.encode("utf-8", "surrogateescape")
        problem = lacks(sent, known)
        if problem is not None:
            raise Refused(401, "invalid_api_key", problem)
        return True

    def asks(self, model: Key) -> bool:
        """Whether one is asked for."""
        return self._of(model) is not None

    def _of(self, model: Key) -> tuple[bytes, ...] | None:
        namespace, name = model
        return self._known.get(f"{namespace}.{name}", self._known.get(namespace))

    async def follow(self) -> None:
        """Reads the folder again for ever, if there is one. What can't be read, or is empty now, changes
        nothing."""
        told = ""
        while self._folder is not None:
            await asyncio.sleep(REREAD_SECONDS)
            try:
                found, problem = await asyncio.to_thread(_read, self._folder), ""
            except KeysError as error:
                found, problem = self._known, f"the API keys stay as they are: {error}"
            if problem and problem != told:
                logger.error("%s", problem)
            if found != self._known:
                logger.info("API keys are asked for %s", ", ".join(found))
            told, self._known = problem, found


def _read(folder: Path) -> dict[str, tuple[bytes, ...]]:
    """Digests by the names of the files. Kubelet's own links begin with two dots."""
    try:
        files = sorted(each for each in folder.iterdir() if not each.name.startswith(".."))
        found = {each.name: digests(each.read_text("utf-8")) for each in files}
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(f"the API keys of {folder}: {error}") from error
    wrong = next((name for name in found if not NAME.fullmatch(name)), None)
    if wrong is not None or not found:
        problem = "has no key" if wrong is None else f"{wrong!r} names no model"
        raise KeysError(f"the API keys of {folder}: {problem}; write NAMESPACE or NAMESPACE.MODEL")
    return found

"""Files of a remote -> verified files in a folder, a few at a time.

Each file streams into `<name>.part`, hashed on the way, and is renamed once its size and checksum are the
listed ones and it is synced. So a file under its own name is whole, and a part is resumed by the next run.
"""

import logging
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from pathlib import Path

from kubeembed_api.reasons import Reason
from kubeembed_weights.checksum import BLOCK, Checksum, sha256_of
from kubeembed_weights.copies import Stored
from kubeembed_weights.errors import BrokenOff, FetchError
from kubeembed_weights.progress import Meter
from kubeembed_weights.remote import Remote, RemoteFile
from kubeembed_weights.retry import patiently

logger = logging.getLogger(__name__)

WORKERS = 4


def present(files: Sequence[RemoteFile], folder: Path) -> int:
    """Bytes of the files that an earlier run left in the folder, whole or in part."""
    return sum(min(_size(folder, file), file.size) for file in files)


def download(
    remote: Remote, revision: str, files: Sequence[RemoteFile], folder: Path, meter: Meter
) -> dict[str, Stored]:
    """Fetches what is missing in the folder. Raises FetchError, or OSError of the folder's volume.

    The first failure ends the others at their next chunk; their parts stay.
    """
    stop = threading.Event()
    largest_first = sorted(files, key=lambda file: -file.size)
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="fetch") as pool:
        jobs = {
            pool.submit(_fetch, remote, revision, file, folder, meter, stop): file
            for file in largest_first
        }
        try:
            return {jobs[job].path: job.result() for job in as_completed(jobs)}
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _fetch(
    remote: Remote,
    revision: str,
    file: RemoteFile,
    folder: Path,
    meter: Meter,
    stop: threading.Event,
) -> Stored:
    target = folder / file.path
    if _complete(target, file):
        meter.found(file.size)
        return Stored(size=file.size, sha256=_known_sha256(target, file))
    target.parent.mkdir(parents=True, exist_ok=True)
    with _part(target, file, meter, stop) as part:
        patiently(lambda: part.receive(remote.read(revision, file, part.size)), stop.wait)
        part.verify()
    part.path.rename(target)
    logger.info("fetched %s (%d bytes)", file.path, file.size)
    return Stored(size=file.size, sha256=part.checksum.sha256)


class _Part:
    """The part file of one download, always hashed up to its end."""

    def __init__(
        self, path: Path, descriptor: int, file: RemoteFile, meter: Meter, stop: threading.Event
    ) -> None:
        self.path = path
        self.checksum = Checksum(file)
        self.size = 0
        self._descriptor = descriptor
        self._file = file
        self._meter = meter
        self._stop = stop

    def resume(self) -> None:
        """Takes in what an earlier run left; more than the file can have is of no use."""
        if os.fstat(self._descriptor).st_size > self._file.size:
            os.truncate(self._descriptor, 0)
        while block := os.read(self._descriptor, BLOCK):
            self._check_stop()
            self.checksum.update(block)
            self.size += len(block)
            self._meter.found(len(block))

    def receive(self, chunks: Generator[bytes, None, None]) -> None:
        """Writes what comes until the file is whole. Raises BrokenOff if it ends before."""
        if self.size == self._file.size:
            return
        with closing(chunks):  # ends the response, too, where we leave early
            for chunk in chunks:
                self._check_stop()
                if self.size + len(chunk) > self._file.size:
                    raise self._wrong(f"more than the {self._file.size} bytes it was listed with")
                self._append(chunk)
        if self.size < self._file.size:
            raise BrokenOff(
                Reason.SOURCE_TRUNCATED,
                f"{self._file.path} ended after {self.size} of {self._file.size} bytes",
            )

    def verify(self) -> None:
        """Raises FetchError ChecksumMismatch, the part then being gone."""
        if self.checksum.listed != self._file.checksum:
            raise self._wrong(f"{self._file.algorithm} {self.checksum.listed}")
        os.fsync(self._descriptor)

    def _append(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self.checksum.update(chunk)
        self.size += len(chunk)
        self._meter.add(len(chunk))

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise CancelledError

    def _wrong(self, found: str) -> FetchError:
        self.path.unlink()
        self._meter.found(-self.size)
        return FetchError(
            Reason.CHECKSUM_MISMATCH,
            f"{self._file.path}: expected {self._file.algorithm} {self._file.checksum}, got {found}. The "
            "file was deleted and is fetched anew; if it happens again, a proxy or mirror changes it",
        )


@contextmanager
def _part(target: Path, file: RemoteFile, meter: Meter, stop: threading.Event) -> Iterator[_Part]:
    path = target.with_name(target.name + ".part")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    try:
        part = _Part(path, descriptor, file, meter, stop)
        part.resume()
        yield part
    finally:
        os.close(descriptor)


def _complete(target: Path, file: RemoteFile) -> bool:
    return target.is_file() and target.stat().st_size == file.size


def _known_sha256(target: Path, file: RemoteFile) -> str:
    """It was verified before it got its name, so a sha256 that is listed is not computed again."""
    return file.checksum if file.algorithm == "sha256" else sha256_of(target)


def _size(folder: Path, file: RemoteFile) -> int:
    target = folder / file.path
    for path in (target, target.with_name(target.name + ".part")):
        if path.is_file():
            return path.stat().st_size
    return 0

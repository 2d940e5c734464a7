"""s3://, gs://, az:// -> listing and content, over the object stores' own protocols.

A bucket has no commits, so its revision is a hash over the names, sizes and ETags of the wanted files: what
changes there is another revision, and each read names the ETag that it is of. So a copy is never a mixture.
Checksums are those of a file SHA256SUMS where the folder has one, else ETags that are an MD5 of the content.
"""

import hashlib
import logging
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError

from kubeembed_api.reasons import Reason
from kubeembed_api.sourced import LISTED, Sourced
from kubeembed_api.sources import LIST
from kubeembed_weights.errors import FetchError
from kubeembed_weights.remote import Listing, RemoteFile
from kubeembed_weights.selection import Choose
from kubeembed_weights.store_clients import Client, has_md5, open_client
from kubeembed_weights.store_errors import changed, failure
from kubeembed_weights.sums import SUMS_LIMIT, checksum_of, parse_sums

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

logger = logging.getLogger(__name__)

MD5 = re.compile(r"[0-9a-f]{32}")


class Store:
    """One folder of a bucket. A kubeembed_weights.remote.Remote."""

    def __init__(self, told: Sourced, environ: Mapping[str, str]) -> None:
        self._source = told.parsed
        self._client: Client = open_client(told, environ)

    def pinned(self, revision: str | None) -> str | None:
        return revision if revision and LISTED.fullmatch(revision) else None

    def listing(self, revision: str | None, choose: Choose) -> Listing:
        with self._asked("listing", body=False):
            chunks = obstore.list(self._client.store)
            objects = {meta["path"]: meta for chunk in chunks for meta in chunk}
        if not objects:
            raise FetchError(
                Reason.SOURCE_NOT_FOUND,
                f"{self._source}: there is nothing under this path; check spec.model.source",
            )
        chosen = [objects[path] for path in choose(objects, str(self._source))]
        sums = objects.get(LIST)
        found = _revision([*chosen, *([sums] if sums else [])])
        if revision not in (None, found):
            raise changed(self._source, f"its files are {found} now, not {revision}")
        return Listing(revision=found, files=tuple(self._files(chosen, sums)))

    def read(self, revision: str, file: RemoteFile, start: int) -> Generator[bytes, None, None]:
        options: GetOptions = {"range": {"offset": start}} if start else {}
        if file.etag:
            options["if_match"] = file.etag
        with self._asked(file.path, body=False):
            got = obstore.get(self._client.store, file.path, options=options)
        if (_etag(got.meta), got.meta["size"]) != (file.etag, file.size):
            raise changed(self._source, f"{file.path} is another file than was listed")
        with self._asked(file.path, body=True):
            # as it comes: what is held back here would be lost, and sent again, when the body breaks off
            yield from got.stream(min_chunk_size=1)

    def _files(
        self, chosen: Iterable["ObjectMeta"], sums: "ObjectMeta | None"
    ) -> Generator[RemoteFile, None, None]:
        checksums = self._sums(sums) if sums else {}
        metas = list(chosen)
        md5 = not sums and has_md5(self._client, metas[0]["path"])
        for meta in metas:
            path, size, etag = meta["path"], meta["size"], _etag(meta)
            listed = (etag or "").strip('"')
            if sums:
                sha256 = checksum_of(checksums, path, f"{self._source}/{LIST}")
                yield RemoteFile(
                    path=path, size=size, algorithm="sha256", checksum=sha256, etag=etag
                )
            elif md5 and MD5.fullmatch(listed):
                yield RemoteFile(path=path, size=size, algorithm="md5", checksum=listed, etag=etag)
            else:
                yield RemoteFile(path=path, size=size, algorithm="none", checksum="", etag=etag)

    def _sums(self, meta: "ObjectMeta") -> dict[str, str]:
        if meta["size"] > SUMS_LIMIT:
            raise FetchError(
                Reason.NO_USABLE_FILES, f"{self._source}/{LIST}: {meta['size']} bytes is no list"
            )
        with self._asked(LIST, body=False):
            content = obstore.get(self._client.store, LIST).bytes()
        return parse_sums(bytes(content), f"{self._source}/{LIST}")

    @contextmanager
    def _asked(self, what: str, *, body: bool) -> Generator[None, None, None]:
        """What obstore raises becomes a FetchError. `body`: the answer has begun."""
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise failure(error, self._source, what, self._client, body=body) from error


def _etag(meta: "ObjectMeta") -> str | None:
    """In quotes, as If-Match has it: Azure lists it without."""
    told = meta["e_tag"]
    return told and '"' + told.strip('"') + '"'


def _revision(metas: Iterable["ObjectMeta"]) -> str:
    told = sorted(f"{meta['path']}\n{meta['size']}\n{_etag(meta)}\n" for meta in metas)
    return hashlib.sha256("".join(told).encode()).hexdigest()[:40]

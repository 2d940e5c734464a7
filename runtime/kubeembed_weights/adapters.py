"""An adapter's source -> its two files: in the cache like weights, or where they lie (file://).

Those of a claim (pvc://) are copied as well: so they are checked like all others, and pods mount one cache.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from kubeembed_api.keys import ADAPTER_FILES, weights_key
from kubeembed_api.sources import Source
from kubeembed_api.spec import Adapter
from kubeembed_weights.cache import Cache
from kubeembed_weights.copies import Copy
from kubeembed_weights.disk import writing
from kubeembed_weights.fetching import Wanted, filled
from kubeembed_weights.mounted import Mounted
from kubeembed_weights.progress import Meter
from kubeembed_weights.remote import Remote, open_remote
from kubeembed_weights.retry import patiently
from kubeembed_weights.selection import select_adapter


def fetch_adapter(
    adapter: Adapter,
    root: Path,
    *,
    progress: Meter | None = None,
    environ: Mapping[str, str] = os.environ,
    mounted: Path | None = None,
) -> Copy:
    """The adapter's copy, fetched if it is not there; file:// as it lies. Raises FetchError.

    mounted: the folder of a pvc:// source, which somebody else has to mount.
    """
    source, meter = adapter.parsed, progress or Meter()
    if source.scheme == "file":
        return Copy(path=Path("/", source.path), key=_key(source, ""), revision=None, bytes=0)
    cache = Cache(root)
    if source.scheme == "pvc" and mounted is not None:
        remote: Remote = Mounted(source, mounted)
    else:
        remote = open_remote(adapter, environ)
    with writing(root, meter):
        pinned = remote.pinned(adapter.revision)
        if pinned is not None and (copy := cache.revived(_key(source, pinned))):
            return copy
        wanted = _wanted(source, remote, adapter.revision)
        meter.expect(wanted.bytes)
        return cache.revived(wanted.key) or filled(cache, remote, wanted, meter)


def _wanted(source: Source, remote: Remote, revision: str | None) -> Wanted:
    listing = patiently(lambda: remote.listing(revision, select_adapter))
    key = _key(source, listing.revision)
    return Wanted(source=source, key=key, listing=listing, choose=select_adapter)


def _key(source: Source, commit: str) -> str:
    return weights_key(source, commit, ADAPTER_FILES)

"""Where the tool reads and writes: the checkout, and one folder in the user's cache."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


def cache() -> Path:
    """Archives, settings of the build and buildah's own store. Removing it costs a new build and no more."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "kubeembed" / "images"

"""The machine's way to its package index -> files that the build mounts, so that no image keeps any of it.

A network may have a certificate authority and an index of its own. Both are the machine's business: they are
read from where pip and uv read them, and reach the build in a volume rather than as arguments, which an
image's history would show.
"""

import configparser
import json
import os
import shutil
from pathlib import Path

from devimages.places import cache

#: An empty folder in every Debian image, so that mounting there leaves nothing behind.
MOUNT = "/mnt"

BUNDLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PIP_FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")


def arguments() -> list[str]:
    """Options of `buildah build` that show the build the machine's certificates and index."""
    folder = cache() / "network"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pip.conf").write_text(pip_settings())
    (folder / "uv.toml").write_text(uv_settings())
    options = [f"--volume={folder}:{MOUNT}:ro"]
    found = bundle()
    if found is not None:
        shutil.copyfile(found, folder / "ca.crt")
        options.append(f"--build-arg=SSL_CERT_FILE={MOUNT}/ca.crt")
    options.append(f"--build-arg=PIP_CONFIG_FILE={MOUNT}/pip.conf")
    options.append(f"--build-arg=UV_CONFIG_FILE={MOUNT}/uv.toml")
    return options


def bundle() -> Path | None:
    """The machine's certificate authorities, if it has any file of them."""
    named = [os.environ[variable] for variable in BUNDLES if os.environ.get(variable)]
    return next((Path(p) for p in (*named, SYSTEM_BUNDLE) if Path(p).is_file()), None)


def index() -> str | None:
    """The package index that the machine prefers to PyPI."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if os.environ.get(variable):
            return os.environ[variable]
    settings = configparser.RawConfigParser()
    settings.read(Path(file).expanduser() for file in PIP_FILES)
    return settings.get("global", "index-url", fallback=None)


def pip_settings() -> str:
    lines = ["[global]"]
    if bundle() is not None:
        lines.append(f"cert = {MOUNT}/ca.crt")
    if index() is not None:
        lines.append(f"index-url = {index()}")
    return "\n".join([*lines, ""])


def uv_settings() -> str:
    return f"index-url = {json.dumps(index())}\n" if index() is not None else ""

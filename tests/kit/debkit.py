"""Programs of Debian that tests drive, brought the first time: a browser without a screen, and Prometheus.

The browser needs libraries, so it is installed. Prometheus would start as a service, so it is only unpacked,
into the user's cache. Where apt can't, and they are not there, the tests that need them are skipped.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cachekit import alone, cached

#: Either will do: the first is what is installed, without a desktop's libraries.
BROWSERS = ("chromium-headless-shell", "chromium")
APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120")


def browser() -> str:
    """Path of the program."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        _apt()
        _run(*APT, "install", "-y", "--no-install-recommends", BROWSERS[0])
        found = shutil.which(BROWSERS[0])
    assert found is not None
    return found


def prometheus(program: str) -> str:
    """Path of `prometheus` or `promtool`."""
    found = shutil.which(program)
    if found is not None:
        return found
    folder = cached("prometheus")
    with alone(folder):
        path = folder / "usr" / "bin" / program
        if not path.exists():
            _apt()
            _run(*APT, "-o", "APT::Sandbox::User=root", "download", "prometheus", folder=folder)
            (package,) = folder.glob("prometheus_*.deb")
            _run("dpkg-deb", "--extract", str(package), str(folder))
            package.unlink()
    return str(path)


def _apt() -> None:
    """Package lists that are of today. Skips the test where there is no apt for us."""
    if shutil.which(APT[0]) is None or os.geteuid() != 0:
        pytest.skip("needs programs that apt-get brings for root on Debian")
    _run(*APT, "update")


def _run(*argv: str, folder: Path | None = None) -> None:
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        argv, env=environ, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"

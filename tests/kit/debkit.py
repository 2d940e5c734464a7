"""Programs of Debian that tests drive, brought the first time: a browser without a screen.

Where apt can't, and they are not there, the tests that need them are skipped with a sentence.
"""

import os
import shutil
import subprocess

import pytest

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


def _apt() -> None:
    """Package lists that are of today. Skips the test where there is no apt for us."""
    if shutil.which(APT[0]) is None or os.geteuid() != 0:
        pytest.skip(f"needs {BROWSERS[0]}, which apt-get installs for root on Debian")
    _run(*APT, "update")


def _run(*argv: str) -> None:
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"

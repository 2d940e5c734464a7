"""The distribution's programs that the node stands on, installed when they are absent."""

import os
import shutil
import subprocess
from pathlib import Path

from devcluster.console import say, step
from devcluster.errors import ClusterError, CommandFailed
from devcluster.process import PATH

CNI_PLUGINS = Path("/usr/lib/cni")
# What must be there -> the Debian packages that bring it.
NEEDED: dict[str, tuple[str, ...]] = {
    "gcc": ("gcc", "libc6-dev"),
    "ip": ("iproute2",),
    "ipset": ("ipset",),
    "iptables": ("iptables",),
    "nft": ("nftables",),
    "nsenter": ("util-linux",),
    "openssl": ("openssl",),
    "runc": ("runc",),
    str(CNI_PLUGINS / "ptp"): ("containernetworking-plugins",),
}


def missing() -> list[str]:
    """Debian packages that still have to be installed."""
    absent = [program for program in NEEDED if not shutil.which(program, path=PATH)]
    return [package for program in absent for package in NEEDED[program]]


def install() -> None:
    """Install what is missing. Raises ClusterError where that is not possible."""
    wanted = missing()
    if not wanted:
        return
    names = " ".join(wanted)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ClusterError(f"install these first (named as in Debian): {names}")
    say(f"          apt-get installs: {names}")
    with step(f"install {len(wanted)} packages of the distribution"):
        if not Path("/var/lib/apt/lists").is_dir() or not any(
            Path("/var/lib/apt/lists").glob("*Packages*")
        ):
            _apt("update")
        try:
            _apt("install", "-y", "--no-install-recommends", *wanted)
        except CommandFailed:  # the lists may be older than the mirror
            _apt("update")
            _apt("install", "-y", "--no-install-recommends", *wanted)


def _apt(*words: str) -> None:
    argv = ["apt-get", "-q", *words]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stdout + done.stderr)

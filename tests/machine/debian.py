"""Debian systems to boot: this host's, and one of the other release that the package is for."""

import os
import shutil
import subprocess
from pathlib import Path

HOST = Path("/")
# What the package needs, and what the tests call.
_PACKAGES = "systemd-sysv,dbus,python3,init-system-helpers,procps,iproute2,curl,man-db"


def debian_13(place: Path) -> Path:
    """Return the root of a Debian 13: that in LOYALTY_DEBIAN_13, else a new one in `place`.

    Needs mmdebstrap and a mirror of Debian.
    """
    given = os.environ.get("LOYALTY_DEBIAN_13")
    if given:
        return Path(given)
    root = place / "debian-13"
    command = (_mmdebstrap(), "--variant=minbase", f"--include={_PACKAGES}", "trixie", root)
    subprocess.run(command, check=True, capture_output=True)
    return root


def _mmdebstrap() -> str:
    found = shutil.which("mmdebstrap")
    if found is None:
        raise RuntimeError("install mmdebstrap, or name a Debian 13 in LOYALTY_DEBIAN_13")
    return found

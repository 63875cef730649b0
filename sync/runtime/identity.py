"""Identity of the running program: package version, and boot ID of the machine."""

import importlib.metadata
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

# One package contains both the agent and the receiver.
_DISTRIBUTION = "loyalty-agent"
_KERNEL_FILE = Path("/proc/sys/kernel/random/boot_id")
_CREDENTIAL = "boot-id"


@cache
def installed_version() -> str:
    """Return the version of the installed package, else that in pyproject.toml."""
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])


def read_boot_id(environ: Mapping[str, str], kernel_file: Path = _KERNEL_FILE) -> str | None:
    """Return the kernel's boot ID; None if a sandbox hides it.

    Times of the monotonic clock are comparable only within one boot.

    A sandboxed service gets it as the credential `boot-id` (LoadCredential=, systemd.exec(5)).
    """
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    places = [Path(directory) / _CREDENTIAL] if directory else []
    for place in (*places, kernel_file):
        try:
            boot_id = place.read_text("ascii").strip()
        except (OSError, UnicodeError):
            continue
        if boot_id:
            return boot_id
    return None

"""Boot ID of the machine: monotonic times are comparable only within one boot."""

from collections.abc import Mapping
from pathlib import Path

_KERNEL_FILE = Path("/proc/sys/kernel/random/boot_id")
_CREDENTIAL = "boot-id"


def read_boot_id(environ: Mapping[str, str], kernel_file: Path = _KERNEL_FILE) -> str | None:
    """Return the kernel's boot ID; None if a sandbox hides it.

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

"""A note beside the database: head office has heard two machines under this store and till id.

It outlives a restart, so that the agent begins only one epoch for it in a boot. A clone of the disk
has the note too, but is of another boot.
"""

import contextlib
from pathlib import Path

import msgspec

from sync.runtime.files.atomic_file import atomic_file

SHARED_NAME_FILE = "shared-name.json"


class SharedNote(msgspec.Struct, frozen=True):
    """`since_us`: when the agent heard of it, in the boot `boot_id`."""

    boot_id: str
    since_us: int


def read_shared_note(directory: Path) -> SharedNote | None:
    """Return the note; None if there is none, or if it is not readable."""
    try:
        note = (directory / SHARED_NAME_FILE).read_bytes()
        return msgspec.json.decode(note, type=SharedNote)
    except (OSError, msgspec.DecodeError):
        return None


def write_shared_note(directory: Path, note: SharedNote | None) -> None:
    """Write the note, or remove it. On a full disk it lasts as long as the process."""
    file = directory / SHARED_NAME_FILE
    with contextlib.suppress(OSError):
        if note is None:
            file.unlink(missing_ok=True)
            return
        with atomic_file(file) as scratch:
            scratch.write(msgspec.json.encode(note))

"""Check that no other machine uses the store and till id of this one, as far as it was told."""

from datetime import UTC, datetime
from pathlib import Path

from agent.store.files.shared_name import read_shared_note
from sync.runtime.checks.check import Check, fault

_ADVICE = (
    "find the other machine (a cloned disk?) and give one of them another till_id and token;"
    " nothing is lost meanwhile"
)


def check_shared_name(directory: Path) -> Check | None:
    """Name the time since which head office hears another machine; None if it does not."""
    note = read_shared_note(directory)
    if note is None:
        return None
    since = datetime.fromtimestamp(note.since_us / 1e6, UTC)
    found = f"head office hears two machines under this name since {since:%Y-%m-%d %H:%M} UTC"
    return fault("name", found, _ADVICE)

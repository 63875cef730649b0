"""Checks of copies beside the database, and of purges ahead of retention, where there are any."""

from datetime import UTC, datetime
from pathlib import Path

from agent.doctor.store.read import read_store
from agent.store.db.connect import DATABASE_FILE
from agent.store.queries.status import read_early_purge
from agent.store.retention.delivery_times import DAY_US, RetentionWindow
from sync.runtime.checks.check import Check, passed, warning
from sync.runtime.cli.printing import count
from sync.runtime.files.migration_copies import list_migration_copies

_COPIES, _RETENTION = "copies", "retention"
_OLD_DAYS = 30


def check_copies(directory: Path, now: datetime) -> Check | None:
    """Name copies made before a migration; warn if one is old: its captures are not delivered."""
    try:
        copies = list_migration_copies(directory / DATABASE_FILE)
    except OSError:
        copies = []
    if not copies:
        return None
    made = {copy.path.name: datetime.fromtimestamp(copy.made_at_us / 1e6, UTC) for copy in copies}
    found = ", ".join(_with_age(name, at, now) for name, at in made.items())
    if all(_days(at, now) <= _OLD_DAYS for at in made.values()):
        return passed(_COPIES, f"made before an upgrade: {found}")
    advice = "check delivery; delete a copy by hand if its captures are at head office"
    return warning(_COPIES, f"made before an upgrade, with addresses: {found}", advice)


def check_retention(directory: Path, kept: RetentionWindow) -> Check | None:
    """Warn if delivered captures go ahead of their retention for lack of room."""
    found = read_store(directory, read_early_purge)
    if found is None or not kept.covers(found.at_us):
        return None
    kept_days = found.kept_us / DAY_US
    text = f"delivered captures are kept {kept_days:.1f} days instead of {kept.days:g}"
    advice = "raise [storage] max_bytes" if found.limit == "max_bytes" else "free disk space"
    return warning(_RETENTION, f"{text}: [storage] {found.limit} is reached", advice)


def _with_age(name: str, made_at: datetime, now: datetime) -> str:
    days = _days(made_at, now)
    return f"{name} ({count(days, 'day')} old)"


def _days(made_at: datetime, now: datetime) -> int:
    return max((now - made_at).days, 0)

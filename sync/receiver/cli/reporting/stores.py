"""`loyalty-hq stores`: list all tills with their state."""

from collections import Counter
from datetime import timedelta

from sync.protocol.rfc3339 import json_time
from sync.receiver.cli.hq import HEAD_OFFICE, reference_now, run_on_database
from sync.receiver.db.database import Database
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.tills import Reference, TillStatus, till_pages
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption, Listing
from sync.runtime.cli.printing import count, echo, label, one_line, print_wrapped, say

_STALE = "* as of the time in SEEN: the till is silent, and may have more by now."
_AS_OF = "WAITING and REJECTED are as of a till's last heartbeat, mostly less than a minute ago."
_ROW = "{:<10} {:<10} {:<13} {:<16} {:>7} {:>8}  {}"


def stores(config: ConfigFile = None, *, as_json: JsonOption = False) -> None:
    """List all known tills.

    One line per till, by store and till. The state is that of the fleet page; times are UTC.
    Waiting and rejected come from the till's last heartbeat; an asterisk marks those of a silent
    till, which may have more by now.
    """
    settings = HEAD_OFFICE.settings(config)
    reference = reference_now()

    async def show(database: Database) -> None:
        await (_print_json if as_json else _print_table)(database, reference)

    run_on_database(settings, show)


async def _print_json(database: Database, reference: Reference) -> None:
    listing = Listing("stores", as_json=True, head=reference.as_of())
    async for tills in till_pages(database, reference):
        for till in tills:
            listing.add(_entry(till))
    listing.end()


async def _print_table(database: Database, reference: Reference) -> None:
    heads = ("STORE", "TILL", "STATE", "SEEN", "WAITING", "REJECTED", "VERSION")
    echo(_ROW.format(*map(label, heads)))
    states: Counter[str] = Counter()
    store_ids: set[str] = set()
    shared: list[TillStatus] = []
    stale = has_figures = False
    async for tills in till_pages(database, reference):
        for till in tills:
            _print_row(till)
        states.update(till.state.value for till in tills)
        store_ids.update(till.store_id for till in tills)
        shared += (till for till in tills if till.is_shared)
        stale |= any(map(_is_stale, tills))
        has_figures |= any(till.backlog or till.dead_letters for till in tills)
    if stale:
        print_wrapped(_STALE)
    elif has_figures:
        print_wrapped(_AS_OF)
    for till in shared:
        print_wrapped(one_line(f"{till.store_id}/{till.till_id}: {till.advice}"))
    counts = "".join(f", {number} {state}" for state, number in sorted(states.items()))
    known = f"{count(states.total(), 'till')} in {count(len(store_ids), 'store')}"
    say(f"{known}{counts.replace(',', ':', 1)}.")


def _print_row(till: TillStatus) -> None:
    seen = f"{till.last_contact_at:%Y-%m-%d %H:%M}" if till.last_contact_at else label("never")
    key = (one_line(till.store_id), one_line(till.till_id), label(till.state.value), seen)
    waiting = f"{till.backlog}{'*' if _is_stale(till) else ''}"
    echo(_ROW.format(*key, waiting, till.dead_letters, one_line(till.version)))


def _is_stale(till: TillStatus) -> bool:
    """Return whether the till may have captured more since it was heard."""
    return Condition.SILENT in till.conditions


def _entry(till: TillStatus) -> dict[str, object]:
    """Return a till by the names that `/v1/stores` has, with its state and conditions."""
    return {
        "storeId": till.store_id,
        "tillId": till.till_id,
        **till.state_members(),
        "lastSeenAt": json_time(till.last_contact_at),
        "lastActivityAt": json_time(till.last_activity_at),
        "outstanding": till.backlog,
        "oldestSeconds": _seconds(till.oldest_age),
        "deadLetters": till.dead_letters,
        "freeBytes": till.free_bytes,
        "agentVersion": till.version,
        "termsRefused": till.terms_refused,
        "unconfirmedEpochs": till.unconfirmed_epochs,
    }


def _seconds(period: timedelta | None) -> float | None:
    return None if period is None else period.total_seconds()

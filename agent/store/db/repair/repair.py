"""Repairs, at each opening, the few rows on which all others depend: cursor, epochs, positions.

A damaged event concerns only itself and is found when it is sent (`outbox/windows.py`). A damaged
cursor, epoch or position would stop every capture and every event, so it is rebuilt from the other
rows (`evidence.py`), or a new epoch begins. Each damaged row is listed in `damaged_row` and logged.
The cost does not depend on the backlog.
"""

import sqlite3
from collections.abc import Callable

from agent.facts import Receipt
from agent.store.db.epochs import EpochCause, Epochs, open_epochs, read_epochs
from agent.store.db.event_rows import MAX_POSITION
from agent.store.db.repair.context import Repair
from agent.store.db.repair.delivery_cursor import repair_cursor
from agent.store.db.repair.epoch_table import EPOCHS_DAMAGED, repair_epochs
from agent.store.db.repair.evidence import ASIDE, Evidence, read_evidence

# A row that was repaired is of interest as long as the disk may be the cause.
KEPT_US = 30 * 24 * 3600 * 1_000_000
FORGET = "DELETE FROM damaged_row WHERE found_at_us < ?"
# A session out of range can neither be used nor shown, and its id would reject a till's repeat.
STRAY_SESSIONS = "SELECT position FROM session WHERE position <= 0 OR position > ?"
STRAY_EVENTS = "SELECT position FROM event WHERE position > ? AND position <= ?"
MOVE_EVENT = "UPDATE event SET position = position + ? WHERE position = ?"
REMOVE_SESSION = "DELETE FROM session WHERE position = ?"
MOVE_ANSWERS = """
UPDATE OR IGNORE email_answer SET position = position + ? WHERE position > ? AND position <= ?
"""
_BESIDE = ("delivery", "settled", "doubt", "dead_letter")
# Destinations have names of lower-case letters. A dead letter of an unknown one would be hidden.
_IS_NO_NAME = "(typeof(destination) <> 'text' OR destination GLOB '*[^a-z]*' OR destination = '')"
_HAS_NO_CURSOR = "destination NOT IN (SELECT name FROM destination)"
FOREIGN_ROWS = {
    table: f"""
UPDATE OR IGNORE {table} SET destination = 'central'
WHERE (destination < 'central' OR destination > 'central' OR destination IS NULL)
    AND ({_IS_NO_NAME}{f" OR {_HAS_NO_CURSOR}" if table == "dead_letter" else ""})
"""  # noqa: S608 - contains no value
    for table in _BESIDE
}
_POSITION = dict.fromkeys(_BESIDE, "position") | {"delivery": "through_position"}
# Texts and bytes sort above all numbers. Of the two small tables every row is looked at.
_NO_INTEGER = {
    "dead_letter": "OR typeof(position) <> 'integer'",
    "doubt": "OR typeof(position) <> 'integer'",
}
STRAY_ROWS = {
    table: f"""
DELETE FROM {table} WHERE destination = 'central'
    AND ({position} <= 0 OR {position} > ? OR {position} IS NULL {_NO_INTEGER.get(table, "")})
"""  # noqa: S608 - contains no value
    for table, position in _POSITION.items()
}
STRAY_REASONS = dict.fromkeys(_BESIDE, "rows with an impossible position") | {
    "dead_letter": "captures that head office lacks, of which the number is lost"
}
# An event that waits behind others is looked at again by that, and waits on.
RETRY_DEFERRED = """
UPDATE dead_letter SET retry_wanted = 1
WHERE destination = 'central' AND stuck_since_us IS NOT NULL AND retry_wanted IS NOT 1
    AND discarded_at_us IS NULL
"""
FIX_NAME = f"""
UPDATE OR IGNORE destination SET name = 'central' WHERE {_IS_NO_NAME.replace("destination", "name")}
    AND NOT EXISTS (SELECT 1 FROM destination WHERE name = 'central')
"""  # noqa: S608 - contains no value
BOOT_NUMBERS = "SELECT number FROM boot WHERE number <= 0 OR number > ?"
MOVE_BOOT = """
UPDATE boot SET number = (SELECT 1 + coalesce(max(number), 0) FROM boot WHERE number <= ?)
WHERE number = ?
"""


def open_repaired_epochs(
    connection: sqlite3.Connection,
    last_commit: Receipt | None,
    now_us: Callable[[], int],
    new_epoch: Callable[[], str],
) -> tuple[Epochs, EpochCause | None]:
    """Repair damaged rows; return the epochs, and why a new one began, if one did."""
    if _repair_rows(Repair(connection, last_commit, new_epoch, now_us())):
        return read_epochs(connection), EpochCause(EPOCHS_DAMAGED)
    return open_epochs(connection, last_commit, new_epoch, now_us)


def _repair_rows(repair: Repair) -> bool:
    """Repair damaged rows; return whether a new epoch began."""
    connection = repair.connection
    connection.execute(FORGET, (repair.at_us - KEPT_US,))
    evidence = read_evidence(connection, repair.mark)
    _set_strays_aside(repair, evidence)
    _reclaim_rows(repair)
    watermark = repair_cursor(repair, evidence)
    has_begun = repair_epochs(repair, evidence, watermark)
    last = max(evidence.last, watermark)
    for table, sql in STRAY_ROWS.items():
        bound = watermark if table == "delivery" else last
        if removed := connection.execute(sql, (bound,)).rowcount:
            repair.note(table, "position", f"{STRAY_REASONS[table]}: {removed}")
    connection.execute(RETRY_DEFERRED)
    return has_begun


def _set_strays_aside(repair: Repair, evidence: Evidence) -> None:
    """Move rows whose position no other row confirms, so that numbers go on below them.

    The position of such an event has no row now: the outbox reports that as damage.
    """
    connection = repair.connection
    strays = connection.execute(STRAY_EVENTS, (evidence.numbered, MAX_POSITION)).fetchall()
    for (position,) in strays:
        connection.execute(MOVE_EVENT, (ASIDE, position))
        repair.note("event", str(position), "its position is out of range")
    sessions = connection.execute(STRAY_SESSIONS, (evidence.numbered,)).fetchall()
    for (position,) in sessions:
        connection.execute(REMOVE_SESSION, (position,))
        repair.note("session", str(position), "its position is out of range")
    moved = connection.execute(MOVE_ANSWERS, (ASIDE, evidence.numbered, MAX_POSITION)).rowcount
    if moved:
        repair.note("email_answer", "position", f"rows out of range: {moved}")


def _reclaim_rows(repair: Repair) -> None:
    """Correct unknown names of the destination, and boot numbers out of range."""
    connection = repair.connection
    for table, sql in FOREIGN_ROWS.items():
        if changed := connection.execute(sql).rowcount:
            repair.note(table, "destination", f"rows of an unknown destination: {changed}")
    if connection.execute(FIX_NAME).rowcount:
        repair.note("destination", "central", "its name is unknown")
    for (number,) in connection.execute(BOOT_NUMBERS, (MAX_POSITION,)).fetchall():
        connection.execute(MOVE_BOOT, (MAX_POSITION, number))
        repair.note("boot", str(number), "its number is out of range")

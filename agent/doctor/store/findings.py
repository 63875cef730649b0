"""Checks of the database's content: lost captures, dead letters, new epochs, unused terms."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.doctor.store.read import read_rows, read_store
from agent.store.crypto.old_keys import read_with_old_keys
from agent.store.crypto.vault import UnusableKey
from agent.store.db.epochs import NEW_FILE, SHARED_NAME
from agent.store.db.lost_captures import LostCaptures, read_lost_captures
from agent.store.db.tables import IS_OPEN, STUCK_ATTEMPTS
from agent.store.files.shared_name_note import read_shared_note
from agent.store.learned_terms import read_fetch
from agent.store.queries.lost_keys import find_of_lost_keys
from agent.store.queries.status import read_new_epoch
from agent.store.retention.delivery_times import RetentionWindow
from sync.protocol.rfc3339 import us_to_rfc3339
from sync.protocol.wire import AHEAD, RENUMBERED
from sync.runtime.checks.check import Check, fault, passed, warning
from sync.runtime.cli.printing import count
from sync.runtime.masking import mask_secrets

_LOST, _EPOCH, _TERMS, _ADDRESSES = "lost captures", "epoch", "terms", "addresses"
_REFUSED = "dead letters"
_STUCK = "stuck captures"
_ROWS = "damaged rows"
_DAMAGED_ROWS = f"""
SELECT table_name, reason, count(*) FROM damaged_row GROUP BY table_name, reason
UNION ALL
SELECT 'event', 'set aside as a dead letter', count(*) FROM dead_letter
WHERE destination = 'central' AND error_code = 'DAMAGED' AND {IS_OPEN}
GROUP BY destination
LIMIT 10
"""  # noqa: S608 - a constant of ours
_DEAD_LETTERS = f"""
SELECT error_code, count(*) FROM dead_letter
WHERE destination = 'central' AND {IS_OPEN} AND stuck_since_us IS NULL
GROUP BY error_code ORDER BY count(*) DESC, error_code
"""  # noqa: S608 - a constant of ours
_STUCK_EVENTS = f"""
SELECT error_code, http_status, count(*) FROM dead_letter
WHERE destination = 'central' AND stuck_since_us IS NOT NULL AND attempts >= {STUCK_ATTEMPTS}
GROUP BY error_code, http_status ORDER BY count(*) DESC, error_code LIMIT 5
"""  # noqa: S608 - contains no value
_MOST_CODES, _MAX_CODE = 5, 60
_OVERDUE = timedelta(days=1)
_OF_TWO_COPIES = (RENUMBERED, AHEAD, SHARED_NAME)
_ADVICE = (
    "if you have a newer copy of the database, or its disk, keep it and read it with"
    " loyalty-agent salvage FILE; else acknowledge the loss at head office"
)


def check_lost_captures(directory: Path) -> Check | None:
    """Name the captures that are lost; None if there are none.

    A fault until head office has accepted the loss.
    """
    found = read_store(directory, lambda one: read_lost_captures(one, directory))
    lost = [one for one in found or [] if one.count]
    if not lost:
        return None
    if not (alarms := [one for one in lost if one.is_alarm]):
        accepted = "; ".join(map(_described, lost))
        return passed(_LOST, f"head office has accepted the loss: {accepted}")
    return fault(_LOST, "; ".join(map(_described, alarms)), _ADVICE)


def check_dead_letters(directory: Path) -> Check | None:
    """Name the codes of the captures that head office rejected; None if there are none."""
    rows = read_rows(directory, _DEAD_LETTERS)
    if not rows:
        return None
    # Head office writes the code: it may be any text.
    codes = [f"{some} {mask_secrets(str(code))[:_MAX_CODE]}" for code, some in rows[:_MOST_CODES]]
    if more := sum(some for _, some in rows[_MOST_CODES:]):
        codes.append(f"{more} of other codes")
    total = sum(some for _, some in rows)
    captures = count(total, "capture")
    found = f"rejected: {captures}; {', '.join(codes)}"
    advice = (
        "see loyalty-agent dead-letters list; once the cause is fixed, dead-letters retry, else"
        " discard"
    )
    return warning(_REFUSED, found, advice)


def check_stuck(directory: Path) -> Check | None:
    """Name the codes of the captures without a verdict, tried again and again; None if none."""
    rows = read_rows(directory, _STUCK_EVENTS)
    if not rows:
        return None
    codes = [f"{some} {code}{f' ({status})' if status else ''}" for code, status, some in rows]
    captures = count(sum(some for _, _, some in rows), "capture")
    found = (
        f"no verdict of head office on {captures}, though it answers other requests:"
        f" {', '.join(codes)}"
    )
    advice = (
        "see loyalty-agent dead-letters list: a firewall before head office, or head office itself,"
        " fails on these captures; they are sent again by themselves"
    )
    return warning(_STUCK, found, advice)


def check_epoch(directory: Path, kept: RetentionWindow) -> Check | None:
    """Warn if a new epoch began in the retention window for another reason than a new machine."""
    began = read_store(directory, read_new_epoch)
    if began is None or began.reason == NEW_FILE or not kept.covers(began.began_at_us):
        return None
    if began.reason in _OF_TWO_COPIES:
        advice = (
            "none if a copy of the database or an image of the disk was put back; else another"
            " machine may use this store_id and till_id: find it (a cloned disk?)"
        )
    else:
        advice = "none if you replaced the database or restored a copy; else look into the disk"
    return warning(_EPOCH, f"a new epoch began: {began.reason}", advice)


def check_shared_name(directory: Path) -> Check | None:
    """Name the time since which head office hears another machine; None if it does not."""
    note = read_shared_note(directory)
    if note is None:
        return None
    since = datetime.fromtimestamp(note.since_us / 1e6, UTC)
    found = f"head office hears two machines under this name since {since:%Y-%m-%d %H:%M} UTC"
    advice = (
        "find the other machine (a cloned disk?) and give one of them another till_id and token;"
        " nothing is lost meanwhile"
    )
    return fault("name", found, advice)


def check_terms(directory: Path, now: datetime) -> Check | None:
    """Warn if the program terms of head office were refused, or not fetched for long."""
    fetch = read_store(directory, read_fetch)
    if fetch is None:
        return None
    if fetch.fault is not None:
        advice = "head office must correct its [program]; the terms before stay in use"
        return warning(_TERMS, f"head office's program terms are refused: {fetch.fault}", advice)
    at_us = fetch.answered_at_us
    if at_us is None or now - datetime.fromtimestamp(at_us / 1e6, UTC) < _OVERDUE:
        return None
    found = f"head office last sent its program terms at {us_to_rfc3339(at_us)}"
    return warning(_TERMS, found, "see the checks of the connection and of head office")


def check_damaged_rows(directory: Path) -> Check | None:
    """Name the rows that were damaged and repaired, by table and reason; None if there are none."""
    rows = read_rows(directory, _DAMAGED_ROWS)
    if not rows:
        return None
    found = "; ".join(f"{some} in {table}: {reason}" for table, reason, some in rows)
    advice = "look into the disk (smartctl); send a support bundle"
    return warning(
        _ROWS, f"rows of the database were damaged, and repaired or set aside: {found}", advice
    )


def check_addresses(directory: Path, key_file: Path) -> Check | None:
    """Name the captures whose address cannot be sent: their key is lost. None if there are none."""
    try:
        headers = read_with_old_keys(key_file, directory).headers
    except (UnusableKey, OSError):
        return None  # said of the file itself; the agent makes a new key at its next start
    found = read_store(directory, lambda one: find_of_lost_keys(one, headers))
    if found is None or not found.number:
        return None
    advice = (
        f"put the key back from its copy to {key_file}: they are sent again; else discard them:"
        " see loyalty-agent dead-letters list"
    )
    captures = count(found.number, "capture")
    text = f"{captures}, {found.first} to {found.last}, encrypted with a key that is lost"
    return fault(_ADDRESSES, text, advice)


def _described(lost: LostCaptures) -> str:
    numbers = f"{lost.epoch}/{lost.first} to {lost.lost_through}"
    known = " (head office, or a file set aside, may have some)" if lost.is_open else ""
    captures = count(lost.count, "capture")
    return f"{captures} that tills were told are recorded, {numbers}{known}: {lost.reason}"

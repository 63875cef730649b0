"""Checks of an event's row: believed only if types, ranges and checksum are right."""

from itertools import product

import pytest

from agent.facts import EmailStatus
from agent.store.db.event_rows import (
    MAX_POSITION,
    DamagedEvent,
    StoredEvent,
    check_event,
    event_checksum,
)
from sync.protocol.wire import EventType

NUMBERS = (8, 7, 1_700_000_000_000_000, 5_000_000, 1)
BODY = b'{"status":"accepted"}'
COLUMNS = list(StoredEvent._fields)
GOOD = (8, "email.answered", 7, "four", *NUMBERS[2:4], 1, "boot-1", BODY, None, "accepted", b"\x01")
SUM = event_checksum(NUMBERS, "email.answered", "four", "accepted", BODY)
# Without these an event can still be sent: the address authenticates itself.
BESIDE = {"boot_id", "address", "checksum", "query_locale"}
VALUES = [None, "text", b"\xff", "", b"", -1, 0, 1.5, 2**63 - 1]


def changed(column: str, value: object) -> tuple[object, ...]:
    """Return the good row with one other value."""
    row: list[object] = [*GOOD, SUM]
    row[COLUMNS.index(column)] = value
    return tuple(row)


def test_good_row_is_an_event() -> None:
    event = check_event((*GOOD, SUM))
    assert isinstance(event, StoredEvent)
    assert (event.type, event.status) == (EventType.EMAIL_ANSWERED, EmailStatus.ACCEPTED)


def test_row_of_an_earlier_version_has_no_checksum_and_is_believed() -> None:
    assert isinstance(check_event((*GOOD, None)), StoredEvent)


@pytest.mark.parametrize(
    ("column", "value"), list(product(sorted(set(COLUMNS) - BESIDE), VALUES)), ids=str
)
def test_any_other_value_is_damage(column: str, value: object) -> None:
    damaged = check_event(changed(column, value))
    assert isinstance(damaged, DamagedEvent)
    assert damaged.fault


@pytest.mark.parametrize(("column", "value"), list(product(sorted(BESIDE), VALUES)), ids=str)
def test_no_value_raises(column: str, value: object) -> None:
    assert isinstance(check_event(changed(column, value)), StoredEvent | DamagedEvent)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("body", b'{"status":"declined"}'),
        ("status", "declined"),
        ("correlation_id", "five"),
        ("occurred_at_us", 1_700_000_000_000_001),
        ("monotonic_us", 5_000_001),
        ("boot_number", 2),
        ("session_position", 6),
        ("position", 9),
        ("type", "session.started"),
    ],
)
def test_altered_content_is_damage(column: str, value: object) -> None:
    damaged = check_event(changed(column, value))
    assert isinstance(damaged, DamagedEvent)
    assert damaged.fault == "its content was altered"


def test_erased_address_does_not_alter_an_event() -> None:
    assert isinstance(check_event(changed("address", None)), StoredEvent)


def test_fault_names_the_column_and_no_value() -> None:
    damaged = check_event(changed("occurred_at_us", "guest@example.com"))
    assert isinstance(damaged, DamagedEvent)
    assert damaged.fault == "its occurred_at_us is unreadable"


def test_readable_rest_of_a_damaged_event_is_kept() -> None:
    assert check_event(changed("body", None)) == DamagedEvent(
        8, "its body is missing", EventType.EMAIL_ANSWERED, 7, "four", NUMBERS[2]
    )


def test_position_beyond_every_receipt_is_damage() -> None:
    damaged = check_event((MAX_POSITION + 1, *GOOD[1:], None))
    assert isinstance(damaged, DamagedEvent)

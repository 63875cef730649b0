"""Validates an event's row: types, ranges, checksum. Pure.

A damaged page, a bit flip or a foreign program leaves rows that SQLite reads without an error. The
checksum, written with the event, covers all that head office gets of it but two columns: the
address is authenticated by its encryption (AES-GCM) and erased later, and the boot id serves only
to correct the time.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import msgspec

from agent.facts import EmailStatus
from agent.store.crypto.vault import is_encrypted
from sync.protocol.wire import EventType

# The last position that a row can have: 16 digits, as in a receipt, which no till ever reaches.
# Above it SQLite still has room, and JSON readers lose no digit of it.
MAX_POSITION = 10**15
# 1 to 128 printable characters without blanks, as head office accepts them.
_ID = re.compile(r"[!-~]{1,128}")
_MAX_MONOTONIC_US = 10**17
_MAX_TIME_US = 253_402_300_799_999_999  # the year 9999
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
# No ciphertext of any key: the address is there, but cannot be read.
_UNREADABLE_ADDRESS = b""
_BYTES = (bytes,)


class StoredEvent(NamedTuple):
    """An event with its boot, and columns of its session and of its answer."""

    position: int
    type: EventType
    session_position: int
    correlation_id: str
    occurred_at_us: int
    monotonic_us: int
    boot_number: int
    boot_id: str
    body: bytes
    query_locale: str | None
    status: EmailStatus | None
    address: bytes | None
    checksum: int | None


_BOOT_ID, _ADDRESS = StoredEvent._fields.index("boot_id"), StoredEvent._fields.index("address")


@dataclass(frozen=True, slots=True)
class DamagedEvent:
    """An invalid event; `fault` says why, without a value of the row.

    The other fields are those that can still be read. Else `type` is None, `correlation_id` empty,
    `occurred_at_us` 0, and `session_position` the event's own position.
    """

    position: int
    fault: str
    type: EventType | None = None
    session_position: int = 0
    correlation_id: str = ""
    occurred_at_us: int = 0


def event_checksum(
    numbers: tuple[int, int, int, int, int],
    kind: str,
    correlation_id: str,
    detail: str | None,
    body: bytes,
) -> int:
    """Return the checksum of an event.

    `numbers`: position, session position, wall clock, monotonic clock, boot number; `detail`: the
    locale in the query of a session start, or the status of an answer; `body` as stored.
    """
    position, session, wall_us, monotonic_us, boot = numbers
    head = f"{position} {session} {wall_us} {monotonic_us} {boot} {kind} {detail}\n{correlation_id}"
    return crc32(body, crc32(head.encode()))


def is_position(value: object) -> bool:
    """Return whether `value` can be the position of a row."""
    return type(value) is int and 0 < value <= MAX_POSITION


def is_id(value: object) -> bool:
    """Return whether `value` can be the id of an epoch or of a boot."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def check_event(row: Sequence[object]) -> StoredEvent | DamagedEvent:
    """Return the event in `row`, or its fault.

    The columns are those of `StoredEvent`; the checksum is None in a row of an earlier version. A
    text that is not UTF-8 is given as bytes.
    """
    address = row[_ADDRESS]
    is_usual = is_id(row[_BOOT_ID]) and (address is None or type(address) is bytes)
    values = row if is_usual else _with_replacements(row)
    try:
        event = msgspec.convert(values, StoredEvent, builtin_types=_BYTES)
    except msgspec.ValidationError:
        return _damaged(values, _fault_of_types(values))
    fault = _fault(event)
    return event if fault is None else _damaged(values, fault)


def _with_replacements(row: Sequence[object]) -> Sequence[object]:
    """Return `row` with replacements for values that an event can be sent without."""
    event = StoredEvent._make(row)
    if not is_id(event.boot_id):
        event = event._replace(boot_id=f"unknown-boot-{event.boot_number}"[:128])
    if not isinstance(event.address, bytes | None):
        event = event._replace(address=_UNREADABLE_ADDRESS)
    return tuple(event)


def _damaged(values: Sequence[object], fault: str) -> DamagedEvent:
    position, kind, session, name, occurred, *_ = values
    own = position if type(position) is int else 0
    is_before = is_position(session) and isinstance(session, int) and session <= own
    is_time = type(occurred) is int and abs(occurred) <= _MAX_TIME_US
    return DamagedEvent(
        position=own,
        fault=fault,
        type=next((known for known in EventType if known == kind), None),
        session_position=session if is_before and isinstance(session, int) else own,
        correlation_id=name if isinstance(name, str) else "",
        occurred_at_us=occurred if is_time and isinstance(occurred, int) else 0,
    )


def _fault_of_types(values: Sequence[object]) -> str:
    """Return the name of the value of a wrong type."""
    if StoredEvent._make(values).correlation_id is None:
        return "the row of its session is missing"
    for (name, kind), value in zip(StoredEvent.__annotations__.items(), values, strict=False):
        try:
            msgspec.convert(value, kind, builtin_types=_BYTES)
        except msgspec.ValidationError:
            return f"its {name} is {'missing' if value is None else 'unreadable'}"
    return "its row is incomplete"


def _fault(event: StoredEvent) -> str | None:
    """Return why the values of `event` cannot be true; None if they can."""
    if not is_position(event.position):
        return "its position is out of range"
    if event.checksum is not None:
        return None if event.checksum == _checksum_of(event) else "its content was altered"
    return _fault_without_checksum(event)


def _checksum_of(event: StoredEvent) -> int:
    is_answer = event.type is EventType.EMAIL_ANSWERED
    times = event.occurred_at_us, event.monotonic_us
    return event_checksum(
        (event.position, event.session_position, *times, event.boot_number),
        # The bare text: an enumeration is slow to format.
        event.type.value,
        event.correlation_id,
        (event.status and event.status.value) if is_answer else event.query_locale,
        event.body,
    )


def _fault_without_checksum(event: StoredEvent) -> str | None:
    is_answer = event.type is EventType.EMAIL_ANSWERED
    belongs = 0 < event.session_position < event.position
    if is_answer and event.status is None:
        return "the row of its answer is missing"
    if not (belongs if is_answer else event.session_position == event.position):
        return "its session is another one"
    if abs(event.occurred_at_us) > _MAX_TIME_US:
        return "its time is out of range"
    if not 0 <= event.monotonic_us <= _MAX_MONOTONIC_US:
        return "its monotonic time is out of range"
    if not event.correlation_id:
        return "its correlation id is empty"
    return None if is_encrypted(event.body) or _is_object(event.body) else "its body is no JSON"


def _is_object(body: bytes) -> bool:
    try:
        body.decode()
        _members.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True

"""Reads table pages of an SQLite file without SQLite, so that damage beside a row does not hide it.

Each cell is read for itself: one that cannot be read is skipped, the others of its page are not.
Standard library only; nothing here writes.

https://www.sqlite.org/fileformat2.html#b_tree_pages
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

# The agent never sets a page size: its files have SQLite's default. No bytes are reserved.
PAGE_BYTES = 4_096
LEAF, INTERIOR = 13, 5
_HEADER_BYTES = {LEAF: 8, INTERIOR: 12}
# On the first page, the header of the file comes before that of the page.
_FILE_HEADER_BYTES = 100
_MAX_LOCAL = PAGE_BYTES - 35
_MIN_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
_OVERFLOW_BYTES = PAGE_BYTES - 4
# A body has at most 16 KiB; a longer payload is a damaged length.
_MAX_PAYLOAD = 1024 * 1024
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_FLOAT, _ZERO, _ONE, _BLOB = 7, 8, 9, 12

Value: TypeAlias = "int | str | bytes | None"
ReadPage: TypeAlias = Callable[[int], bytes | None]


class UnreadableCell(ValueError):  # noqa: N818 - names the condition
    """The bytes of a cell do not follow the format."""


def leaf_rows(
    number: int, page: bytes, *readers: ReadPage
) -> Iterator[tuple[int, list[Value]] | None]:
    """Yield the row id and the values of each cell of a table's leaf page; None if unreadable.

    `readers` return a page for the rest of a long row, which is yielded as each of them has it.
    """
    for at in _cells(number, page, LEAF):
        for read_page in readers:
            try:
                size, _ = _varint(page, at)
                yield _row(page, at, read_page)
            except (UnreadableCell, IndexError):
                yield None
            else:
                if size <= _MAX_LOCAL:
                    break


def child_pages(number: int, page: bytes) -> list[int]:
    """Return the numbers of the pages below an interior page of a table; none for any other."""
    start = _start(number)
    if page[start] != INTERIOR:
        return []
    cells = [int.from_bytes(page[at : at + 4], "big") for at in _cells(number, page, INTERIOR)]
    return [*cells, int.from_bytes(page[start + 8 : start + 12], "big")]


def _start(number: int) -> int:
    return _FILE_HEADER_BYTES if number == 1 else 0


def _cells(number: int, page: bytes, kind: int) -> Iterator[int]:
    """Yield the offsets of the cells; none if the page is not of this `kind`."""
    start = _start(number)
    if page[start] != kind:
        return
    first = start + _HEADER_BYTES[kind]
    count = min(int.from_bytes(page[start + 3 : start + 5], "big"), (PAGE_BYTES - first) // 2)
    for place in range(first, first + 2 * count, 2):
        yield int.from_bytes(page[place : place + 2], "big")


def _row(page: bytes, at: int, read_page: ReadPage) -> tuple[int, list[Value]]:
    size, at = _varint(page, at)
    row_id, at = _varint(page, at)
    if not 0 < size <= _MAX_PAYLOAD:
        raise UnreadableCell
    local = _local_bytes(size)
    payload = page[at : at + local]
    if local < size:
        following = int.from_bytes(page[at + local : at + local + 4], "big")
        payload += _overflow(following, size - local, read_page)
    if len(payload) != size:
        raise UnreadableCell
    return _signed(row_id), _record(payload)


def _local_bytes(size: int) -> int:
    """Return how many bytes of a payload are in its cell; the others are in overflow pages."""
    if size <= _MAX_LOCAL:
        return size
    fitting = _MIN_LOCAL + (size - _MIN_LOCAL) % _OVERFLOW_BYTES
    return fitting if fitting <= _MAX_LOCAL else _MIN_LOCAL


def _overflow(number: int, size: int, read_page: ReadPage) -> bytes:
    found = bytearray()
    while len(found) < size:
        page = read_page(number)
        if page is None:
            raise UnreadableCell
        found += page[4 : 4 + size - len(found)]
        number = int.from_bytes(page[:4], "big")
    return bytes(found)


def _record(payload: bytes) -> list[Value]:
    header_bytes, at = _varint(payload, 0)
    if header_bytes > len(payload):
        raise UnreadableCell
    values: list[Value] = []
    content = header_bytes
    while at < header_bytes:
        kind, at = _varint(payload, at)
        value, content = _value(payload, kind, content)
        values.append(value)
    if at != header_bytes or content != len(payload):
        raise UnreadableCell
    return values


def _value(payload: bytes, kind: int, at: int) -> tuple[Value, int]:
    """Return the value of the serial type `kind` at offset `at`, and the offset behind it."""
    if kind == 0:
        return None, at
    if kind in (_ZERO, _ONE):
        return kind - _ZERO, at
    if kind in _INTEGER_BYTES:
        end = at + _INTEGER_BYTES[kind]
        content = payload[at:end]
        if len(content) != end - at:
            raise UnreadableCell
        return int.from_bytes(content, "big", signed=True), end
    if kind < _BLOB:
        # No column of ours is a float; 10 and 11 are reserved.
        raise UnreadableCell
    end = at + (kind - _BLOB) // 2
    content = payload[at:end]
    if len(content) != end - at:
        raise UnreadableCell
    if kind % 2 == 0:
        return content, end
    try:
        return content.decode(), end
    except UnicodeDecodeError:
        raise UnreadableCell from None


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the variable-length integer at `at`, unsigned, and the offset behind it."""
    value = 0
    for offset in range(at, at + 8):
        byte = content[offset]
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, offset + 1
    return value << 8 | content[at + 8], at + 9


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value

"""The pages of a quarantined database: those of the file, then each version in its WAL.

An event is written once and never changed, so that every version of a page that is still in a file
may hold the only readable copy of a row. Versions are read from the oldest to the newest.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.store.recovery.btree import PAGE_BYTES, child_pages, leaf_rows
from agent.store.recovery.frames import WalReader

# Frames with a wrong checksum rank below the file, frames with a right one above it.
_DAMAGED, _FILE = 0, 1
# The column of `sqlite_schema`.
_ROOT_PAGE = 3


class Version(NamedTuple):
    """One version of a page: a row of a higher `rank` replaces one of a lower.

    `is_latest`: no intact version of this page is newer.
    """

    number: int
    content: bytes
    rank: int
    is_latest: bool


class PageSource:
    """A database file and its WAL; either may be missing. Raises `OSError`."""

    def __init__(self, database: Path, wal: Path) -> None:
        self._files = contextlib.ExitStack()
        self._descriptor: int | None = None
        self._pages = 0
        if database.exists():
            self._descriptor = os.open(database, os.O_RDONLY | os.O_CLOEXEC)
            self._files.callback(os.close, self._descriptor)
            self._pages = -(-os.fstat(self._descriptor).st_size // PAGE_BYTES)
        self._wal: WalReader | None = None
        if wal.exists():
            self._wal = self._files.enter_context(contextlib.closing(WalReader(wal)))
        self._frames = self._wal.frames if self._wal else []
        self._intact = [self._wal.is_intact(one.place) for one in self._frames] if self._wal else []
        self._latest = {
            one.page: one.place
            for one, is_intact in zip(self._frames, self._intact, strict=True)
            if is_intact
        }

    @property
    def versions(self) -> int:
        """The number of versions of all pages."""
        return self._pages + len(self._frames)

    def version(self, index: int) -> Version:
        """Return a version by its index, the oldest first."""
        if index < self._pages:
            number = index + 1
            return Version(number, self._in_file(number), _FILE, number not in self._latest)
        assert self._wal is not None  # noqa: S101 - narrows the type
        order = index - self._pages
        frame, is_intact = self._frames[order], self._intact[order]
        rank = _FILE + 1 + order if is_intact else _DAMAGED
        is_latest = self._latest.get(frame.page) == frame.place
        return Version(frame.page, self._wal.page(frame.place), rank, is_latest)

    def page(self, number: int) -> bytes | None:
        """Return the newest intact version of a page; None if there is no such page."""
        if self._wal and (index := self._latest.get(number)) is not None:
            return self._wal.page(index)
        return self._in_file(number) if 0 < number <= self._pages else None

    def page_in_file(self, number: int) -> bytes | None:
        """Return a page of the file as it is without the WAL; None if there is no such page."""
        return self._in_file(number) if 0 < number <= self._pages else None

    def leaves_of(self, table: str) -> set[int]:
        """Return the numbers of the leaf pages of `table`, as far as the pages above tell."""
        roots = (
            values[_ROOT_PAGE]
            for leaf in self._leaves_below(1)
            for _, values in filter(None, leaf_rows(leaf, self._page_or_zeros(leaf), self.page))
            if values[:2] == ["table", table] and len(values) > _ROOT_PAGE
        )
        known = [root for root in roots if isinstance(root, int)]
        return {leaf for root in known for leaf in self._leaves_below(root)}

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _page_or_zeros(self, number: int) -> bytes:
        return self.page(number) or bytes(PAGE_BYTES)

    def _leaves_below(self, root: int) -> Iterator[int]:
        # A damaged page can name any other one, also itself.
        below, seen = [root], set[int]()
        while below:
            number = below.pop()
            page = self.page(number)
            if page is None or number in seen:
                continue
            seen.add(number)
            children = child_pages(number, page)
            below += children
            if not children:
                yield number

    def _in_file(self, number: int) -> bytes:
        assert self._descriptor is not None  # noqa: S101 - narrows the type
        content = os.pread(self._descriptor, PAGE_BYTES, (number - 1) * PAGE_BYTES)
        return content.ljust(PAGE_BYTES, b"\0")

"""Storage for thousands of histories: real files without syncs, and points at which to kill.

A crash is simulated by copying the files of a process as they are, so a sync has no effect.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.facts import Receipt
from agent.store import store
from agent.store.db import connect
from agent.store.files.high_water_mark import HighWaterMark
from sync.receiver.db import sqlite
from tests.model.whole.kill_switch import SWITCH


@contextmanager
def fast_storage() -> Iterator[None]:
    """Open all stores without syncs, and with points at which to kill, until the block ends."""
    with without_syncs() as patch:
        patch.setattr(store, "connect_for_writing", _watched(connect.connect_for_writing))
        patch.setattr(HighWaterMark, "write", _around_points(HighWaterMark.write))
        yield


@contextmanager
def without_syncs() -> Iterator[pytest.MonkeyPatch]:
    """Open all stores without syncs until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((connect, "_PRAGMAS"), (sqlite, "_WRITE_PRAGMAS")):
            pragmas = getattr(module, name)
            unsynced = tuple(one.replace("synchronous=FULL", "synchronous=OFF") for one in pragmas)
            assert unsynced != pragmas
            patch.setattr(module, name, unsynced)
        for sync in ("fsync", "fdatasync"):
            patch.setattr(os, sync, lambda _descriptor: None)
        yield patch


def _watched(
    opening: Callable[[Path, Receipt | None, Callable[[], int]], sqlite3.Connection],
) -> Callable[[Path, Receipt | None, Callable[[], int]], sqlite3.Connection]:
    def open_watched(
        path: Path, last_commit: Receipt | None, now_us: Callable[[], int]
    ) -> sqlite3.Connection:
        return SWITCH.watch(opening(path, last_commit, now_us))

    return open_watched


def _around_points(
    write: Callable[[HighWaterMark, Receipt], None],
) -> Callable[[HighWaterMark, Receipt], None]:
    def write_between_points(mark: HighWaterMark, last_commit: Receipt) -> None:
        SWITCH.point()
        write(mark, last_commit)
        SWITCH.point()

    return write_between_points

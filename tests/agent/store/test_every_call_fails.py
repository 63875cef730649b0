"""Each call to SQLite and to the system fails once, from opening to a purge: nothing is lost.

The fault comes before the call has an effect, or after it: a commit may stand although it reports
an error. `tests/crash/test_every_fault.py` does the same to the system calls of a real process.
"""

import errno
import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.facts import Capture, Recorded
from agent.store.files.storage_errors import StorageError
from agent.store.retention.retention import RetentionDays
from agent.store.writer import Writer
from sync.delivery.outbox import OutboxUnavailable
from tests.support.agent.outbox import OutboxRig, judged, outbox_on
from tests.support.agent.store import AT, answer, session

STEP = 97
CALLS_OF_CAPTURES = 8
ATTEMPTS = 4
AT_ONCE = RetentionDays(delivered_days=0, email_days=0)
CAPTURES: list[Capture] = [session("one"), answer("one"), session("two"), answer("two")]
SYSTEM_CALLS = ("pwrite", "fdatasync", "fsync", "open", "ftruncate", "posix_fallocate", "rename")


class OneFault:
    """Fails call number `number`; `is_late`: after its effect."""

    def __init__(self, number: int, *, is_late: bool) -> None:
        self.number, self.is_late = number, is_late
        self.calls = self.first_of_captures = 0
        self.is_on = False

    def around(self, call: Callable[..., object], error: Exception) -> Callable[..., object]:
        """Return `call` with the fault."""

        def faulty(*arguments: object, **named: object) -> object:
            self.calls += self.is_on
            is_hit = self.is_on and self.calls == self.number
            if is_hit and not self.is_late:
                raise error
            result = call(*arguments, **named)
            if is_hit and error.args[0] != errno.EMFILE:
                del result  # a cursor that the traceback keeps would hold its locks
                raise error.with_traceback(None)
            return result

        return faulty


@contextmanager
def failing(fault: OneFault) -> Iterator[None]:
    """Put the fault between the store and its files."""

    class Connection(sqlite3.Connection):
        pass

    disk = sqlite3.OperationalError("disk I/O error")
    setattr(Connection, "execute", fault.around(sqlite3.Connection.execute, disk))  # noqa: B010 - not an override of this signature

    usual = sqlite3.connect
    with pytest.MonkeyPatch.context() as patch:
        for name in SYSTEM_CALLS:
            code = errno.EMFILE if name == "open" else errno.EIO
            error = OSError(code, os.strerror(code))
            patch.setattr(os, name, fault.around(getattr(os, name), error))
        patch.setattr(
            sqlite3,
            "connect",
            lambda *given, **named: usual(*given, **named | {"factory": Connection}),
        )
        yield


async def recorded(rig: OutboxRig, capture: Capture) -> bool:
    """Record a capture as a till does: repeat refused ones; return True if it is recorded."""
    for _ in range(ATTEMPTS):
        try:
            outcome = await rig.writer.record(capture, AT)
        except StorageError:
            await rig.writer.ping()  # its thread opens the store again
        else:
            return isinstance(outcome, Recorded)
    return False


async def delivered(rig: OutboxRig) -> set[str]:
    """Deliver the pending events; return the ids and kinds at head office."""
    there: set[str] = set()
    for _ in range(ATTEMPTS):
        try:
            window = await rig.window()
            there |= {f"{event.type} {event.correlation_id}" for event in window.events}
            await rig.outbox.settle(window, judged(window.events))
            await rig.outbox.retention.erase_once()
            await rig.outbox.retention.purge_once()
            await rig.outbox.retention.scrub_once()
        except OutboxUnavailable:
            await rig.writer.ping()  # its thread opens the store again
    return there


async def live(directory: Path, fault: OneFault) -> tuple[set[str], set[str]]:
    """Go from the opening to a purge with the fault; return both sets."""
    kinds = itertools.cycle(["session.started", "email.answered"])
    acknowledged, there = set(), set()
    with failing(fault):
        fault.is_on = True
        async with outbox_on(directory, retention=AT_ONCE) as rig:
            await rig.writer.ping()
            fault.first_of_captures = fault.calls + 1
            for capture, kind in zip(CAPTURES, kinds, strict=False):
                if await recorded(rig, capture):
                    acknowledged.add(f"{kind} {capture.correlation_id}")
            there |= await delivered(rig)
        fault.is_on = False
    async with outbox_on(directory, retention=AT_ONCE) as rig:
        there |= await delivered(rig)
        assert await recorded(rig, session("three"))
    return acknowledged, there


async def numbers_of_calls(directory: Path, *, every: bool) -> list[int]:
    """Return the numbers of all calls, or of some and the first ones that record captures."""
    none = OneFault(0, is_late=False)
    await live(directory, none)
    if every:
        return list(range(1, none.calls + 1))
    first = none.first_of_captures
    return sorted({*range(1, none.calls, STEP), *range(first, first + CALLS_OF_CAPTURES)})


@pytest.mark.parametrize("when", ["before its effect", "after its effect"])
@pytest.mark.parametrize("which", ["some", pytest.param("every", marks=pytest.mark.campaign)])
async def test_whatever_call_fails_what_was_acknowledged_is_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, which: str
) -> None:
    defaults = {**(Writer.__init__.__kwdefaults__ or {}), "reopen_seconds": 0.0}
    monkeypatch.setattr(Writer.__init__, "__kwdefaults__", defaults)
    for number in await numbers_of_calls(tmp_path / "none", every=which == "every"):
        fault = OneFault(number, is_late=when.startswith("after"))
        acknowledged, there = await live(tmp_path / str(number), fault)
        assert acknowledged <= there, number
        assert fault.calls >= number

"""Steps of tills and customers."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.facts import Receipt
from agent.store.journal.insert import GroupInserter
from tests.model.whole.machine import Machine
from tests.model.whole.steps.chain import Chain, pick

STATUSES = ["accepted", "deferred", "declined", "accepted"]
# Further members of a till's request, as raw JSON; a name with an underscore stands twice.
ODD_MEMBERS: list[dict[str, str]] = [
    {},
    {},
    {},
    {},
    {"erased": "true"},
    {"erased": '"yes"'},
    {"channel": "5", "channel_": '"b"'},
    {"extra": '{"a":1,"a":2}'},
    {"emailAddress_": '"other@example.com"'},
]


class TillSteps(Chain):
    """Requests of tills. Numbers given to a step choose among what there is."""

    async def session(self, which: int, kind: int) -> None:
        """A till starts a session; some have an unusual body."""
        members = ODD_MEMBERS[kind % len(ODD_MEMBERS)]
        await self.ask(self.machine(which), self.book.new_session(None, **members))

    async def session_on(self, machine: Machine) -> list[Receipt]:
        """A till starts a session on this machine; return its receipt."""
        request = self.book.new_session()
        await self.ask(machine, request)
        return self.book.told[request.number]

    async def repeat_session(self, which: int, index: int) -> None:
        """A till repeats a session start."""
        if found := pick(self.book.sessions(), index):
            await self.ask(self.machine(which), found)

    async def same_id(self, which: int, index: int) -> None:
        """A till starts another session under an id that was used before."""
        if found := pick(self.book.sessions(), index):
            again = self.book.new_session(found.correlation_id)
            await self.ask(self.machine(which), again)

    async def answer(self, which: int, index: int, kind: int) -> None:
        """A customer answers."""
        if found := pick(self.book.sessions(), index):
            status, members = STATUSES[kind % len(STATUSES)], ODD_MEMBERS[kind % len(ODD_MEMBERS)]
            request = self.book.new_answer(found.correlation_id, status, **members)
            await self.ask(self.machine(which), request)

    async def repeat_answer(self, which: int, index: int) -> None:
        """A till repeats an answer."""
        if found := pick(self.book.answers(), index):
            await self.ask(self.machine(which), found)

    async def failed_commit(self, which: int, index: int) -> None:
        """Two answers of a session are committed at once; the disk reports an error even so."""
        if found := pick(self.book.sessions(), index):
            names = [found.correlation_id] * 2
            both = [self.book.new_answer(name, "accepted") for name in names]
            with failing_after_commit():
                await self.ask(self.machine(which), *both)


@contextmanager
def failing_after_commit() -> Iterator[None]:
    """Report an error of the disk after the next group was committed."""
    insert, failures = GroupInserter.insert, iter([True])

    def insert_and_fail(inserter: GroupInserter, values: list[object]) -> None:
        insert(inserter, values)
        if next(failures, False):
            raise sqlite3.OperationalError("disk I/O error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GroupInserter, "insert", insert_and_fail)
        yield

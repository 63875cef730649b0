"""A commit that reports an error although it stands: its captures are not recorded twice."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from agent.facts import EmailStatus, Outcome
from agent.store.journal.insert import GroupInserter
from agent.store.writer import Writer
from tests.agent.store.test_writer import Commits
from tests.support.agent.store import AT, EpochIds, answer, new, opener, query, record, session

_SECOND = "guest.two@example.com"


class FailingAfterCommit:
    """Makes the next commits report an I/O error after they were written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        usual = GroupInserter.insert

        def insert(inserter: GroupInserter, values: list[object]) -> None:
            usual(inserter, values)
            if self.left:
                self.left -= 1
                raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(GroupInserter, "insert", insert)


async def recorded(writer: Writer, *captures: object) -> list[Outcome]:
    """Record captures as one group."""
    return await asyncio.gather(*[writer.record(one, AT) for one in captures])  # type: ignore[arg-type]


async def test_two_answers_of_a_commit_that_stands_are_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the second answer the first one no longer looks like a repeat."""
    commits = FailingAfterCommit(monkeypatch)
    writer = Writer(opener(tmp_path, epochs=EpochIds()), Commits().committed)
    writer.start()
    await recorded(writer, session("one"))
    commits.left = 1
    outcomes = await recorded(writer, answer("one"), answer("one", _SECOND))
    later = await recorded(writer, answer("one", status=EmailStatus.DECLINED))
    await writer.close()
    assert outcomes == [new(2), new(3)]
    assert later == [new(4)]
    assert query(tmp_path, "SELECT position FROM event ORDER BY position") == [
        (1,),
        (2,),
        (3,),
        (4,),
    ]


async def test_sessions_and_answers_of_a_commit_that_stands_get_its_receipts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a group that was decided a second time, because it repeats a session."""
    commits = FailingAfterCommit(monkeypatch)
    writer = Writer(opener(tmp_path, epochs=EpochIds()), Commits().committed)
    writer.start()
    await recorded(writer, session("one"), session("two"))
    commits.left = 1
    group = (session("two"), session("three"), answer("three"), answer("three", _SECOND))
    outcomes = await recorded(writer, *group)
    await writer.close()
    assert outcomes[1:] == [new(3), new(4), new(5)]
    assert query(tmp_path, "SELECT count(*) FROM event") == [(5,)]


def test_commit_that_does_not_stand_is_not_taken_for_one_that_does(tmp_path: Path) -> None:
    """Other captures under the same numbers are no proof."""
    writer_side, other = opener(tmp_path / "a"), opener(tmp_path / "b")
    with_group = writer_side.open()
    group = with_group.decide([(session("one"), AT), (session("two"), AT)])
    store = other.open()
    assert not store.holds(group)
    record(store, session("three"), session("four"))
    assert not store.holds(group)
    with_group.write(group)
    assert with_group.holds(group)
    with_group.close()
    store.close()

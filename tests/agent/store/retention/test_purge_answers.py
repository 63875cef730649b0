"""Rows of answers: no secret of a row that SQLite moved to another page stays behind."""

import asyncio
import random
from pathlib import Path

import pytest

from agent.store.db.cursor import ensure_cursor, read_cursor
from agent.store.outbox.settle import SET_WATERMARK
from agent.store.retention.erase import erase_below_watermark
from agent.store.retention.make_room import purge_oldest_delivered
from agent.store.retention.purge_answers import (
    MAX_EXAMINED,
    NEIGHBOURS,
    find_removable_answers,
    remove_answers,
)
from agent.store.store import Store
from tests.support.agent.erasure import traces
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import AT, answer, opened, query, record, session

DAY_SECONDS = 24 * 3600
# Without the rule for neighbours, this history leaves a copy.
SEED, ROUNDS = 7, 12
ADDRESSES = "SELECT address FROM email_answer WHERE address IS NOT NULL"
ERASE_ALL = "UPDATE email_answer SET address = NULL"
ANSWERS = "SELECT count(*) FROM email_answer"


async def record_answers(rig: OutboxRig, names: list[str], address: str) -> None:
    captures = [one for name in names for one in (session(name), answer(name, name + address))]
    await asyncio.gather(*(rig.writer.record(one, AT) for one in captures))


async def run_retention(rig: OutboxRig) -> None:
    retention = rig.outbox.retention
    for step in (retention.erase_once, retention.erase_digests_once, retention.purge_once):
        while await step():
            pass


def record_some(store: Store, prefix: str, count: int) -> None:
    names = [f"{prefix}/{number}" for number in range(count)]
    record(store, *map(session, names))
    record(store, *(answer(name, f"{name}@{'x' * (count % 30 + 1)}.com") for name in names))


def deliver_and_purge(store: Store, chance: random.Random) -> None:
    """Settle some pending events, erase their addresses, purge some delivered ones early."""
    through = chance.randint(read_cursor(store.connection).watermark, store.epochs.last_position)
    store.run(lambda connection: connection.execute(SET_WATERMARK, (through,)))
    while store.run(erase_below_watermark, None):
        pass
    for _ in range(chance.randint(0, 20)):
        store.run(purge_oldest_delivered, AT.wall_us, "a reason", 0)
    removable = find_removable_answers(store.connection, 99).removable
    store.run(remove_answers, removable)


def addresses_in(store: Store) -> set[bytes]:
    return {address for (address,) in store.connection.execute(ADDRESSES)}


def traces_after(directory: Path, seed: int, rounds: int) -> list[str]:
    """Record, deliver and purge at random, then erase the rest; return the traces of addresses."""
    chance, addresses = random.Random(seed), set[bytes]()
    with opened(directory) as store:
        store.connection.execute("PRAGMA synchronous=OFF")
        store.run(ensure_cursor)
        for turn in range(rounds):
            for group in range(chance.randint(1, 20)):
                record_some(store, f"{turn}/{group}", chance.randint(1, 20))
            addresses |= addresses_in(store)
            deliver_and_purge(store, chance)
        store.run(lambda connection: connection.execute(ERASE_ALL))
        store.checkpoint()
    return traces(directory, addresses)


def test_rows_purged_beside_an_address_leave_no_copy_of_it(tmp_path: Path) -> None:
    """SQLite merges nearly empty pages; moved rows also remain at the old place."""
    assert traces_after(tmp_path, SEED, ROUNDS) == []


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(40))
def test_random_purges_leave_no_copy_of_an_address(tmp_path: Path, seed: int) -> None:
    assert traces_after(tmp_path, seed, 2 * ROUNDS) == []


async def test_purged_answers_beside_an_address_stay_as_empty_rows_until_it_is_erased(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        names = [f"s{number}" for number in range(NEIGHBOURS + 20)]
        await record_answers(rig, names, "@example.com")
        letter = (await rig.window(after=1_000)).events[-1]
        await rig.refuse(letter)
        await rig.deliver_all()
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        await run_retention(rig)
        assert query(tmp_path, "SELECT count(*) FROM event") == [(2,)]
        assert query(tmp_path, ANSWERS) == [(NEIGHBOURS + 1,)]
        await rig.deliver(letter)
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        await run_retention(rig)
        assert query(tmp_path, ANSWERS) == [(0,)]


async def test_an_empty_row_is_no_answer_of_a_session(tmp_path: Path) -> None:
    """The session outlives its later answer if the earlier one was delivered late."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one", "a@example.com"))
        await rig.capture(answer("one", "b@example.com"), session("two"), answer("two"))
        early, two = (await rig.window()).events[1], (await rig.window()).events[4]
        await rig.refuse(early, two)
        await rig.deliver_all()
        rig.clock.pass_seconds(20 * DAY_SECONDS)
        await rig.deliver(early)
        rig.clock.pass_seconds(11 * DAY_SECONDS)
        await run_retention(rig)
        assert query(tmp_path, "SELECT position FROM event ORDER BY position") == [
            (1,),
            (2,),
            (4,),
            (5,),
        ]
        assert await rig.capture(answer("one", "c@example.com")) == ["epoch-1/6"]


def test_empty_rows_beside_dead_letters_are_examined_a_few_at_a_time(tmp_path: Path) -> None:
    """After a year there are many that cannot go; all of them in one read would take seconds."""
    end, rare = 4 * MAX_EXAMINED, NEIGHBOURS // 2
    empty = [(at,) for at in range(1, end) if at % rare]
    with opened(tmp_path) as store:
        store.connection.executemany(
            "INSERT INTO email_answer (position, session_position, status) VALUES (?, 0, '')", empty
        )
        store.connection.executemany(
            "INSERT INTO email_answer VALUES (?, 1, '', X'00', NULL)",
            [(at,) for at in range(rare, end, rare)],
        )
        seen, through = [], 0
        for _ in range(4):
            removable, through = find_removable_answers(store.connection, 100, through)
            assert removable == []
            seen.append(through)
        assert seen == [*(empty[n * MAX_EXAMINED - 1][0] for n in (1, 2, 3)), 0]
        assert find_removable_answers(store.connection, 100, end) == ([], seen[0])

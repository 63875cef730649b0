"""Keyed digests of addresses: erased a day after the address, so that guesses cannot be tested."""

from pathlib import Path

import pytest

from agent.store.crypto.vault import read_vault
from agent.store.retention.erase import MAX_ADDRESSES
from agent.store.retention.retention import RetentionDays
from tests.support.agent.erasure import stored_secrets, traces
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import ADDRESS, KEY_FILE, answer, crashed_copy, query, session

DAY_SECONDS = 24 * 3600
STORED_DIGESTS = "SELECT position FROM email_answer WHERE address_mark IS NOT NULL"


async def erase_all(rig: OutboxRig) -> None:
    """Erase all addresses and digests that are due."""
    while await rig.outbox.retention.erase_once():
        pass
    while await rig.outbox.retention.erase_digests_once():
        pass


def stored_digests(directory: Path) -> list[object]:
    return [row[0] for row in query(directory, STORED_DIGESTS)]


async def test_guesses_cannot_be_tested_a_day_after_delivery(tmp_path: Path) -> None:
    """The attack: with file and key, compute the digest of a guess and look for it."""
    live = tmp_path / "live"
    async with outbox_on(live) as rig:
        await rig.capture(session("one"), answer("one"))
        guess = read_vault(live / KEY_FILE).digest(ADDRESS, "one")
        assert stored_secrets(live)[1] == [guess]
        await rig.deliver_all()
        rig.clock.pass_seconds(DAY_SECONDS)
        await erase_all(rig)
        await rig.outbox.retention.scrub()
        assert traces(crashed_copy(live, tmp_path / "stolen"), [guess]) == []


async def test_a_repeat_within_a_day_has_the_receipt_of_the_first(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"))
        await rig.deliver_all()
        rig.clock.pass_seconds(DAY_SECONDS - 1)
        await erase_all(rig)
        assert await rig.capture(answer("one")) == ["epoch-1/2"]


async def test_a_repeat_after_a_day_is_recorded_and_not_dropped(tmp_path: Path) -> None:
    """It cannot be told from another address any more; head office recognises the duplicate."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"))
        await rig.deliver_all()
        rig.clock.pass_seconds(DAY_SECONDS)
        await erase_all(rig)
        assert await rig.capture(answer("one"), answer("one")) == ["epoch-1/3", "epoch-1/3"]
        (event,) = (await rig.window()).events
        assert ADDRESS.encode() in event.body


async def test_a_digest_stays_as_long_as_its_address(tmp_path: Path) -> None:
    two_days = RetentionDays(delivered_days=30, email_days=2)
    async with outbox_on(tmp_path, retention=two_days) as rig:
        await rig.capture(session("one"), answer("one"), session("two"), answer("two"))
        events = (await rig.window()).events
        await rig.refuse(events[3])
        await rig.deliver_all()
        rig.clock.pass_seconds(3 * DAY_SECONDS - 1)
        await erase_all(rig)
        assert stored_digests(tmp_path) == [2, 4]
        rig.clock.pass_seconds(1)
        await erase_all(rig)
        assert stored_digests(tmp_path) == [4]


@pytest.mark.parametrize("end", ["discarded", "delivered"])
async def test_digest_of_a_dead_letter_goes_a_day_after_its_end(tmp_path: Path, end: str) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), session("two"))
        letter = (await rig.window()).events[1]
        await rig.refuse(letter)
        await rig.deliver_all()
        rig.clock.pass_seconds(5 * DAY_SECONDS)
        await erase_all(rig)
        assert stored_digests(tmp_path) == [2]
        if end == "discarded":
            assert await rig.outbox.dead_letters.discard("epoch-1", 2)
        else:
            await rig.deliver(letter)
        rig.clock.pass_seconds(DAY_SECONDS - 1)
        await erase_all(rig)
        assert stored_digests(tmp_path) == [2]
        rig.clock.pass_seconds(1)
        await erase_all(rig)
        assert stored_digests(tmp_path) == []


async def test_digests_of_events_delivered_ahead_of_a_stuck_one_go_in_slices(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("stuck"), answer("stuck"))
        names = [f"s{number}" for number in range(MAX_ADDRESSES + 1)]
        await rig.capture(*(one for name in names for one in (session(name), answer(name))))
        await rig.deliver(*(await rig.window()).events[2:])
        rig.clock.pass_seconds(DAY_SECONDS)
        await erase_all(rig)
        assert stored_digests(tmp_path) == [2]


async def test_many_digests_are_erased_in_slices(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        names = [f"s{number}" for number in range(2 * MAX_ADDRESSES + 1)]
        await rig.capture(*(one for name in names for one in (session(name), answer(name))))
        await rig.deliver_all()
        rig.clock.pass_seconds(DAY_SECONDS)
        while await rig.outbox.retention.erase_once():
            pass
        assert await rig.outbox.retention.erase_digests_once()
        assert len(stored_digests(tmp_path)) == MAX_ADDRESSES + 1
        await erase_all(rig)
        assert stored_digests(tmp_path) == []

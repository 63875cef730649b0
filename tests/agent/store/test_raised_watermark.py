"""A damaged watermark that is too high loses no event without an acknowledgement."""

from pathlib import Path

import pytest

from tests.support.agent.outbox import outbox_on
from tests.support.agent.store import answer, change, query, session

MONTH_SECONDS = 31 * 24 * 3600


async def sequences_with_watermark(directory: Path, watermark: int) -> list[int]:
    """Return the pending sequence numbers after an opening that found this watermark."""
    change(directory, f"UPDATE destination SET watermark = {watermark}")  # noqa: S608 - a number
    async with outbox_on(directory) as rig:
        await rig.capture(session("last"))  # the store is open
        return [event.sequence for event in (await rig.window()).events]


@pytest.mark.parametrize("raised", [1, 3, 4])
@pytest.mark.parametrize("delivered", [0, 1])
async def test_watermark_above_the_last_acknowledgement_is_not_believed(
    tmp_path: Path, delivered: int, raised: int
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), session("two"), answer("two"))
        await rig.outbox.record_attempt(await rig.window())
        await rig.deliver(*(await rig.window()).events[:delivered])
    assert await sequences_with_watermark(tmp_path, raised) == [*range(delivered + 1, 6)]


@pytest.mark.parametrize("raised", [2, 3])
async def test_watermark_is_not_believed_after_all_acknowledgements_are_purged(
    tmp_path: Path, raised: int
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        await rig.deliver_all()
        rig.clock.pass_seconds(MONTH_SECONDS)
        while await rig.outbox.retention.purge_once():
            pass
        await rig.capture(session("two"), session("three"))
    assert query(tmp_path, "SELECT * FROM delivery") == []
    assert await sequences_with_watermark(tmp_path, raised) == [2, 3, 4]

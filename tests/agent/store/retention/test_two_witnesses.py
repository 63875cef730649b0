"""Nothing is erased or purged on the watermark alone: it may be damaged while the agent runs."""

from pathlib import Path

from tests.support.agent.outbox import outbox_on
from tests.support.agent.store import answer, change, query, session

RAISED = "UPDATE destination SET watermark = 4"


async def test_raised_watermark_erases_and_purges_nothing_undelivered(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), session("two"), answer("two"))
        await rig.deliver(*(await rig.window(events=2)).events)
        change(tmp_path, RAISED)
        rig.clock.pass_seconds(40 * 24 * 3600)
        await rig.outbox.retention.erase_once()
        await rig.outbox.retention.erase_digests_once()
        await rig.outbox.retention.purge_once()
        [(kept,)] = query(
            tmp_path,
            "SELECT count(*) FROM event JOIN email_answer USING (position)"
            " WHERE position = 4 AND address IS NOT NULL AND address_mark IS NOT NULL",
        )
        assert kept == 1

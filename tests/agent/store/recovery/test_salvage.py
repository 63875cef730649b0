"""Captures in a quarantined database are fed in once, with the receipts that tills have."""

from pathlib import Path

from agent.facts import EmailStatus
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.quarantine import DELIVERED_FILE, list_quarantined
from agent.store.queries import StoreReader
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.salvage import salvage_of, set_aside
from tests.support.agent.store import EpochIds, answer, query, session

PATIENCE_SECONDS = 10


async def captured(directory: Path, epochs: EpochIds, delivered: int = 0) -> list[str]:
    """Record two sessions with an answer each; deliver the first ones. Return the receipts."""
    async with outbox_on(directory, epochs=epochs) as rig:
        receipts = await rig.capture(
            session("one"), answer("one"), session("two"), answer("two", "two@example.com")
        )
        if delivered:
            await rig.deliver(*(await rig.window(delivered)).events)
        return receipts


async def salvaged(rig: OutboxRig) -> list[tuple[str, str | None]]:
    """Salvage; return the pending events by correlation id and address."""
    await rig.writer.check(PATIENCE_SECONDS)
    await salvage_of(rig).run_once()
    events = (await rig.window()).events
    return [(one.correlation_id, _address(one.body)) for one in events]


def _address(body: bytes) -> str | None:
    _, _, rest = body.partition(b'"emailAddress":"')
    return rest.partition(b'"')[0].decode() or None


async def test_undelivered_captures_of_a_quarantined_database_are_fed_in(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await salvaged(rig) == [
            ("one", None),
            ("one", "guest.one@example.com"),
            ("two", None),
            ("two", "two@example.com"),
        ]


async def test_till_that_repeats_a_salvaged_capture_gets_its_first_receipt(tmp_path: Path) -> None:
    epochs = EpochIds()
    receipts = await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await salvaged(rig)
        assert await rig.capture(session("one"), answer("one")) == receipts[:2]
        found = StoreReader(tmp_path).session("two")
        assert [str(one.receipt) for one in found] == receipts[2:]
        assert await rig.capture(session("new")) == ["epoch-2/5"]


async def test_delivered_captures_are_not_fed_in_again(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs, delivered=2)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await salvaged(rig) == [("two", None), ("two", "two@example.com")]


async def test_session_of_an_undelivered_answer_is_fed_in_again(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs, delivered=3)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await salvaged(rig) == [("two", None), ("two", "two@example.com")]


async def test_capture_that_a_till_repeated_before_salvage_is_fed_in_once(tmp_path: Path) -> None:
    epochs = EpochIds()
    receipts = await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert await rig.capture(session("one"), answer("one")) == ["epoch-2/1", "epoch-2/2"]
        assert len(await salvaged(rig)) == 4
        assert await rig.capture(session("one"), answer("one")) == receipts[:2]


async def test_session_with_other_content_is_kept_in_quarantine(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one", locale="fr-FR"))
        await salvaged(rig)
        assert query(tmp_path, "SELECT salvaged, unreadable FROM salvage") == [(3, 1)]


async def test_answers_fed_in_again_are_recognised(tmp_path: Path) -> None:
    """As after a second damage, when the record of what was fed in is lost."""
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(
            session("one"),
            answer("one"),
            answer("one", status=EmailStatus.DECLINED),
            answer("one"),
        )
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert len(await salvaged(rig)) == 4
        await rig.writer.run(lambda store: store.connection.execute("DELETE FROM salvage"))
        assert len(await salvaged(rig)) == 4


async def test_quarantined_database_is_deleted_once_its_captures_are_delivered(
    tmp_path: Path,
) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    set_aside(tmp_path)

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await salvaged(rig)
        assert len(list_quarantined(tmp_path)) == 1
        await rig.deliver_all()
        await salvaged(rig)
        assert list_quarantined(tmp_path) == []


async def test_quarantined_database_with_unreadable_captures_stays(tmp_path: Path) -> None:
    epochs = EpochIds()
    await captured(tmp_path, epochs)
    place = set_aside(tmp_path)
    content = (place / DATABASE_FILE).read_bytes()
    (place / DATABASE_FILE).write_bytes(content.replace(b'{"correlationId":"two"}', b"\0" * 23))

    async with outbox_on(tmp_path, epochs=epochs) as rig:
        assert len(await salvaged(rig)) == 2
        await rig.deliver_all()
        await salvaged(rig)
        assert await salvaged(rig) == []
    assert sorted(file.name for file in place.iterdir()) == [
        DATABASE_FILE,
        "agent.mark",
        DELIVERED_FILE,
    ]
    assert query(tmp_path, "SELECT salvaged, unreadable FROM salvage") == [(2, 2)]

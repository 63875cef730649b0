"""Heartbeats report the machine to head office; program terms reach the machine."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from agent.capture.session_answer import SessionAnswers
from agent.store.queries.reader import StoreReader
from agent.uplink.heartbeat import HeartbeatLoop
from agent.uplink.shared_name import SharedName
from agent.uplink.terms_sync import ProgramTermsSync
from sync.delivery.transports.auth import NoCredentials
from sync.delivery.transports.batch.documents import Sender
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient, HttpOptions
from sync.protocol.wire import BATCHES_PATH, HEARTBEATS_PATH, PROGRAM_PATH, SalvageCounts
from sync.runtime.settings.program import ProgramSettings
from tests.support.agent.outbox import PLENTY, OutboxRig, outbox_on
from tests.support.agent.salvage import salvage_of, set_aside
from tests.support.agent.store import AT, EpochIds, session
from tests.support.central import Request, ScriptedCentral, faults
from tests.support.central.ledger import EpochLedger, Refusal
from tests.support.central.terms import PROGRAM
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.shop import Shop, shop_at

REFUSED = Refusal("CODE", "a reason")
OTHER = msgspec.structs.replace(PROGRAM, prompt="NONE", currency="USD")


@asynccontextmanager
async def heartbeat_of(
    rig: OutboxRig, central: ScriptedCentral, rewound: asyncio.Event | None = None
) -> AsyncIterator[HeartbeatLoop]:
    """Send heartbeats from a store without a full agent, only when the test triggers them."""
    line = HttpClient(HttpOptions(timeout_seconds=5))
    answers = SessionAnswers(ProgramSettings().terms())
    terms = ProgramTermsSync(answers, rig.outbox.access, rig.clock)
    heartbeat = HeartbeatLoop(
        CentralClient(line, central.url, NoCredentials(), lambda: datetime.now(UTC)),
        Sender("store-1", "till-1", "boot-1", "1.0", lambda: AT),
        StoreReader(rig.directory),
        rig.outbox,
        terms,
        on_requeued=(rewound or asyncio.Event()).set,
        on_result=lambda _refusal: None,
        shared_name=SharedName(rig.outbox.access, rig.directory, "boot-1", rig.clock),
    )
    await (
        rig.outbox.dead_letters.retry_due()
    )  # this job of the writer ensures that the store is open
    running = asyncio.ensure_future(heartbeat.run())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield heartbeat
    finally:
        running.cancel()
        await asyncio.wait([running])
        await line.close()


async def beats(central: ScriptedCentral, heartbeat: HeartbeatLoop, count: int) -> None:
    """Trigger heartbeats until head office has received `count`."""
    while len(central.heartbeats) < count:
        await heartbeat.trigger()
        await central.wait_for_requests(len(central.requests) + 1)


async def currency_of(shop: Shop) -> object:
    """Return the currency in the answer to a session start."""
    return (await rules_of(shop))["currency"]


async def rules_of(shop: Shop) -> dict[str, object]:
    """Return the redemption rules in the answer to a session start."""
    answer = await shop.agent.start_session({"correlationId": str(uuid4())})
    rules = json.loads(answer.body)["redemptionRules"]
    assert isinstance(rules, dict)
    return rules


async def until_currency_is(shop: Shop, currency: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await currency_of(shop) != currency:  # noqa: ASYNC110 - polled over HTTP
            await asyncio.sleep(0.02)


async def test_heartbeat_at_start_reports_machine_state(
    tmp_path: Path,
) -> None:
    async with ScriptedCentral() as central, shop_at(tmp_path, central.url, "batch"):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await central.wait_for_requests(1)
            while not central.heartbeats:
                await central.wait_for_requests(len(central.requests) + 1)
    beat = central.heartbeats[0]
    assert (beat.last_sequence, beat.watermark, beat.outstanding, beat.dead_letters) == (0, 0, 0, 0)
    assert beat.free_bytes > 0


async def test_heartbeats_name_the_process_and_how_long_the_answer_before_took(
    tmp_path: Path,
) -> None:
    async with (
        ScriptedCentral() as central,
        outbox_on(tmp_path) as rig,
        heartbeat_of(rig, central) as heartbeat,
    ):
        await beats(central, heartbeat, 3)

    first, *others = central.heartbeats
    assert [one.round_trip_us for one in central.heartbeats[:3]] == [None, 0, 0]
    assert first.run_id
    assert {one.run_id for one in others} == {first.run_id}


async def test_no_heartbeat_is_sent_before_the_time_that_head_office_named(tmp_path: Path) -> None:
    async with (
        ScriptedCentral() as central,
        outbox_on(tmp_path) as rig,
        heartbeat_of(rig, central) as heartbeat,
    ):
        await central.wait_for_requests(2)
        central.script(faults.overloaded("600", 503), on=HEARTBEATS_PATH)
        await heartbeat.heartbeat_once()
        asked = len(central.requests)
        await heartbeat.heartbeat_once()
        held = len(central.requests)
        heartbeat.end_hold()
        await heartbeat.heartbeat_once()

    assert held == asked
    assert len(central.requests) > asked


async def test_no_heartbeat_is_sent_to_a_loyalty_api_backend(tmp_path: Path) -> None:
    async with ScriptedCentral() as central, shop_at(tmp_path, central.url, "replay") as shop:
        await shop.trade(3)
        await shop.delivered()
    assert not [one for one in central.requests if one.path.startswith("/sync/")]


async def test_heartbeat_counts_outstanding_events_of_all_epochs(tmp_path: Path) -> None:
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"), session("three"))
        await rig.deliver((await rig.window()).events[0])
        async with heartbeat_of(rig, central) as heartbeat:
            await beats(central, heartbeat, 1)
    beat = central.heartbeats[0]
    assert (beat.epoch, beat.last_sequence, beat.watermark) == ("epoch-1", 3, 1)
    assert (beat.outstanding, beat.epochs) == (2, [])
    assert beat.oldest_undelivered_at is not None


async def test_heartbeat_counts_what_is_salvaged_once_a_database_was_quarantined(
    tmp_path: Path,
) -> None:
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one"), session("two"))
    set_aside(tmp_path)
    async with (
        ScriptedCentral() as central,
        outbox_on(tmp_path, epochs=epochs) as rig,
        heartbeat_of(rig, central) as heartbeat,
    ):
        await beats(central, heartbeat, 1)
        await salvage_of(rig).run_once()
        await beats(central, heartbeat, 2)
    assert [beat.salvage for beat in central.heartbeats[:2]] == [
        SalvageCounts(pending=1),
        SalvageCounts(salvaged=2),
    ]


async def test_head_office_restored_from_backup_is_detected_without_a_capture(
    tmp_path: Path,
) -> None:
    rewound = asyncio.Event()
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"))
        await rig.deliver_all()
        async with heartbeat_of(rig, central, rewound):
            await rewound.wait()
        assert await rig.positions() == [1, 2]


async def test_events_in_flight_are_not_sent_again(tmp_path: Path) -> None:
    rewound = asyncio.Event()
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        async with heartbeat_of(rig, central, rewound) as heartbeat:
            await beats(central, heartbeat, 2)
    assert not rewound.is_set()


async def test_purged_epoch_is_not_sent_again(
    tmp_path: Path,
) -> None:
    """Head office is new, for example, and records the gap."""
    rewound = asyncio.Event()
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        await rig.deliver_all()
        rig.clock.pass_seconds(31 * 24 * 3600)
        await rig.outbox.renumber("epoch-1", 1)
        await rig.capture(session("two"))
        await rig.deliver_all()
        while await rig.outbox.retention.purge_once():
            pass
        central.ledger.epochs["epoch-2"] = EpochLedger(through=1)
        async with heartbeat_of(rig, central, rewound) as heartbeat:
            await beats(central, heartbeat, 2)
        assert await rig.positions() == []
    assert not rewound.is_set()
    assert central.ledger.epochs["epoch-1"].gaps == [(1, 1)]


async def test_event_that_restored_head_office_has_as_rejected_is_sent_again(
    tmp_path: Path,
) -> None:
    """The accepted sequence does not show the restore; only the rejection does."""
    rewound = asyncio.Event()
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), session("two"))
        await rig.deliver_all()
        central.ledger.epochs["epoch-1"] = EpochLedger(through=2, rejected={2: REFUSED})
        async with heartbeat_of(rig, central, rewound):
            await rewound.wait()
        again = await rig.outbox.next_retry_window(PLENTY)
    assert [event.sequence for event in again.events] == [2]


async def test_rejections_beyond_one_answer_are_paged_through(
    tmp_path: Path,
) -> None:
    """A delivered event behind many dead letters is found."""
    rewound = asyncio.Event()
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        await rig.capture(*(session(name) for name in ("one", "two", "three", "four")))
        *refused, last = (await rig.window()).events
        await rig.refuse(*refused)
        await rig.deliver(last)
        rejected = dict.fromkeys(range(1, 5), REFUSED)
        central.ledger.epochs["epoch-1"] = EpochLedger(through=4, rejected=rejected)
        async with heartbeat_of(rig, central, rewound) as heartbeat:
            await beats(central, heartbeat, 4)
            await rewound.wait()
        again = await rig.outbox.next_retry_window(PLENTY)
    assert [event.sequence for event in again.events] == [4]
    asked = [beat.rejected_after and beat.rejected_after.sequence for beat in central.heartbeats]
    assert asked[:4] == [None, 2, 4, None]


async def test_dead_letter_that_head_office_rejected_is_not_sent_again(tmp_path: Path) -> None:
    rewound = asyncio.Event()
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        await rig.refuse(*(await rig.window()).events)
        central.ledger.epochs["epoch-1"] = EpochLedger(through=1, rejected={1: REFUSED})
        async with heartbeat_of(rig, central, rewound) as heartbeat:
            await beats(central, heartbeat, 3)
        assert not (await rig.outbox.next_retry_window(PLENTY)).events
    assert not rewound.is_set()


async def test_new_epoch_starts_if_head_office_has_more_events_than_the_store(
    tmp_path: Path,
) -> None:
    """The database was restored from a copy and its high-water mark is lost."""
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        await rig.deliver_all()
        await rig.capture(session("two"))
        central.ledger.epochs["epoch-1"] = EpochLedger(through=9)
        async with heartbeat_of(rig, central) as heartbeat:
            await beats(central, heartbeat, 2)
        assert await rig.capture(session("three")) == ["epoch-2/2"]
        assert await rig.positions() == [2, 3]


async def test_events_accepted_after_heartbeat_was_built_start_no_new_epoch(
    tmp_path: Path,
) -> None:
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))

        async def meanwhile(serve: faults.Serve) -> faults.Answer | faults.Lost:
            await rig.capture(session("two"))
            central.ledger.epochs["epoch-1"] = EpochLedger(through=2)
            return await serve()

        central.script(meanwhile, on=HEARTBEATS_PATH)
        async with heartbeat_of(rig, central) as heartbeat:
            await beats(central, heartbeat, 2)
        assert await rig.capture(session("three")) == ["epoch-1/3"]


async def test_rejected_heartbeat_raises_alarm_while_outbox_is_empty(tmp_path: Path) -> None:
    """For example a revoked token: it must show before the next capture."""
    async with ScriptedCentral() as central, shop_at(tmp_path, central.url, "batch") as shop:
        central.credentials = {"Bearer another"}
        await shop.until(state="holding", trouble="unauthorized", httpStatus=401, waiting=0)
        metrics = (await shop.agent.get("/metrics")).body
    assert b"loyalty_agent_sync_holding 1.0" in metrics


async def test_heartbeats_continue_after_unreadable_answers(tmp_path: Path) -> None:
    async with ScriptedCentral() as central, outbox_on(tmp_path) as rig:
        central.script(faults.captive_portal, faults.captive_portal, faults.answer_lost)
        async with heartbeat_of(rig, central) as heartbeat:
            await beats(central, heartbeat, 3)
    assert len(central.heartbeats) == 3


async def test_sessions_are_answered_with_head_office_s_terms(tmp_path: Path) -> None:
    async with ScriptedCentral() as central:
        central.program = OTHER
        async with shop_at(tmp_path, central.url, "batch") as shop:
            await until_currency_is(shop, "USD")
            rules = await rules_of(shop)
    assert rules["minRedeemPoints"] == PROGRAM.rules.min_redeem_points
    assert isinstance(rules["minRedeemPoints"], int)


async def test_last_known_terms_are_used_while_head_office_is_down(tmp_path: Path) -> None:
    async with ScriptedCentral() as central:
        central.program = OTHER
        async with shop_at(tmp_path, central.url, "batch") as shop:
            await until_currency_is(shop, "USD")
    async with shop_at(tmp_path, central.url, "batch") as shop:
        await until_currency_is(shop, "USD")


async def test_terms_are_requested_by_etag_with_every_tenth_heartbeat(tmp_path: Path) -> None:
    async with (
        ScriptedCentral() as central,
        outbox_on(tmp_path) as rig,
        heartbeat_of(rig, central) as heartbeat,
    ):
        await beats(central, heartbeat, 12)
    asked = [one for one in central.requests if one.path == PROGRAM_PATH]
    tags = [one.headers.get("If-None-Match") for one in asked]
    assert len(tags) == 2
    assert (tags[0], tags[1]) != (None, None)
    assert tags[0] is None


async def test_terms_are_not_called_missed_while_no_heartbeat_is_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine that starts after a weekend, before its network: delivery says it is offline."""
    async with (
        ScriptedCentral() as central,
        outbox_on(tmp_path) as rig,
    ):
        central.default_fault = lambda _request: faults.gateway(503)
        async with heartbeat_of(rig, central) as heartbeat:
            while not [one for one in central.requests if one.path == PROGRAM_PATH][1:]:
                await heartbeat.trigger()
                await central.wait_for_requests(len(central.requests) + 1)
            assert "terms.not_fetched" not in caplog.messages
            central.default_fault = lambda request: (
                faults.gateway(503) if request.path == PROGRAM_PATH else None
            )
            while not central.heartbeats or central.heartbeats[-1].terms_refused is None:
                await heartbeat.trigger()
                await central.wait_for_requests(len(central.requests) + 1)
    assert central.heartbeats[0].terms_refused is None
    assert "terms.not_fetched" in caplog.messages


async def test_batch_follows_the_answer_to_a_heartbeat(tmp_path: Path) -> None:
    """Head office may have other events under the agent's numbers: a disk that was put back."""
    order: list[str] = []

    async def answered_late(serve: faults.Serve) -> faults.Answer | faults.Lost:
        answer = await faults.slow(0.3)(serve)
        order.append("answered")
        return answer

    def note(request: Request) -> faults.Fault | None:
        if request.path == BATCHES_PATH:
            order.append("batch")
        return answered_late if request.path == HEARTBEATS_PATH else None

    async with ScriptedCentral() as central:
        central.default_fault = note
        await central.stop()
        async with shop_at(tmp_path, central.url, "batch") as shop:
            await shop.trade(2)
            await shop.until(state="retrying")
            await central.start()
            await shop.delivered()
            assert order[0] == "answered"
        order.clear()
        async with shop_at(tmp_path, central.url, "batch", shop.ledger) as shop:
            await shop.trade(2)
            await shop.delivered()
            assert order[0] == "answered"


async def test_batches_go_on_where_no_heartbeat_is_answered(tmp_path: Path) -> None:
    async with ScriptedCentral() as central, shop_at(tmp_path, central.url, "batch") as shop:
        central.default_fault = lambda request: (
            faults.gateway(503) if request.path == HEARTBEATS_PATH else None
        )
        await shop.trade(3)

        await shop.delivered()

    assert len(central.ledger.records) == 6


async def test_returned_numbers_are_not_reported_before_the_new_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Salvage runs between two reads of a heartbeat: the first one did not see the new numbers."""
    epochs = EpochIds()
    async with outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.capture(session("one"), session("two"))
    set_aside(tmp_path)
    async with ScriptedCentral() as central, outbox_on(tmp_path, epochs=epochs) as rig:
        await rig.writer.check(PATIENCE_SECONDS)
        read_hot = rig.outbox.access.read_hot

        async def read_before_salvage(query: Callable[[sqlite3.Connection], object]) -> object:
            result = await read_hot(query)
            monkeypatch.undo()
            await salvage_of(rig).run_once()
            return result

        monkeypatch.setattr(rig.outbox.access, "read_hot", read_before_salvage)
        async with heartbeat_of(rig, central) as heartbeat:
            await beats(central, heartbeat, 3)
    reported = [
        (beat.last_sequence, older.returned)
        for beat in central.heartbeats
        for older in beat.epochs
        if older.returned
    ]
    assert reported
    assert all(last_sequence == 2 for last_sequence, _ in reported)

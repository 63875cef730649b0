"""Metrics of the receiver and of the fleet."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from sync.protocol.wire import BATCHES_PATH
from sync.receiver.admission.load_shedding import Overloaded
from sync.receiver.admission.memory_budget import REQUEST_BYTES
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.reports.metrics import ReceiverMetrics
from tests.support.head_office.citus import recorded_statements
from tests.support.head_office.messages import SimulatedAgent, answer, session
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.support.prometheus import Samples, parse_samples


async def scraped(receiver: Receiver) -> Samples:
    return parse_samples((await receiver.get("/metrics")).body)


def value_of(samples: Samples, name: str, **labels: str) -> float | None:
    """Return the value of a sample, or None if there is none."""
    return samples.get((f"loyalty_hq_{name}", frozenset(labels.items())))


async def test_events_are_counted_by_outcome(receiver: Receiver, till: SimulatedAgent) -> None:
    await receiver.heartbeat(till, lastSequence=2)
    await receiver.send(
        till, session(3, "one"), answer(4, "one"), session(5, type="x"), baseSequence=3
    )
    await receiver.send(till, session(3, "one"), answer(4, "one"), session(6, "one"))
    await receiver.send(till, session(3, "altered"))

    samples = await scraped(receiver)

    assert {
        outcome: value_of(samples, "events_total", outcome=outcome)
        for outcome in ("taken", "repeated", "refused", "altered")
    } == {"taken": 2, "repeated": 3, "refused": 1, "altered": 1}
    assert value_of(samples, "batches_total") == value_of(samples, "batch_seconds_count") == 3
    assert value_of(samples, "gaps_total") == 1


async def test_outcome_counters_start_at_zero(receiver: Receiver) -> None:
    """Prometheus sees no increase when a series first appears."""
    samples = await scraped(receiver)

    assert value_of(samples, "info", version="0.1.0") == 1
    assert value_of(samples, "events_total", outcome="refused") == 0
    assert value_of(samples, "batch_seconds_count") == 0


async def test_memory_held_by_bodies_is_exported(receiver: Receiver, till: SimulatedAgent) -> None:
    """It shows that head office is about to shed load."""
    budget = receiver.address.budget
    with budget.reserve(till.name, lambda _: Overloaded(1)) as held:
        held.add(1_000_000)
        during = await scraped(receiver)
    after = await scraped(receiver)

    assert value_of(during, "body_bytes") == 1_000_000 + REQUEST_BYTES
    assert value_of(after, "body_bytes") == 0


async def test_requests_are_counted_by_route_and_status(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1))
    await receiver.send(till, session(9))
    await receiver.heartbeat(till)
    await receiver.get("/v1/sessions/somebody")
    await receiver.get("/nothing/here")
    await receiver.send_raw(b"no HTTP\r\n\r\n")

    samples = await scraped(receiver)

    assert {
        (labels["route"], labels["status"]): value
        for (name, pairs), value in samples.items()
        if name == "loyalty_hq_requests_total"
        for labels in [dict(pairs)]
    } == {
        (BATCHES_PATH, "200"): 1,
        (BATCHES_PATH, "409"): 1,
        ("/sync/v1/heartbeats", "200"): 1,
        ("/v1/sessions/{correlation_id}", "404"): 1,
        ("(none)", "404"): 1,
        ("(none)", "400"): 1,
    }
    assert value_of(samples, "problems_total", code="SEQUENCE_GAP") == 1
    assert value_of(samples, "heartbeats_total") == 1


def test_batch_duration_runs_from_body_to_response() -> None:
    seconds = iter([100.0, 100.2])
    metrics = ReceiverMetrics("0.1.0", lambda: next(seconds))

    metrics.count_batch(AcceptedBatch(0), 0, metrics.now_seconds())

    samples = parse_samples(metrics.render(None))
    assert value_of(samples, "batch_seconds_bucket", le="0.1") == 0
    assert value_of(samples, "batch_seconds_bucket", le="0.25") == 1


async def test_fleet_metrics_contain_no_store_names(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.enroll(SimulatedAgent("0043"))
    await receiver.heartbeat(till, lastSequence=2)
    await receiver.send(till, session(3), session(4, type="x"), baseSequence=3)
    await receiver.heartbeat(till, deadLetters=2, outstanding=1, freeBytes=10**12)

    body = (await receiver.get("/metrics")).body

    samples = parse_samples(body)
    assert value_of(samples, "fleet_stores") == 2
    assert value_of(samples, "fleet_stores_in_condition", condition="silent") == 0
    assert value_of(samples, "fleet_stores_in_condition", condition="not-installed") == 1
    assert value_of(samples, "fleet_stores_in_condition", condition="refused") == 1
    assert value_of(samples, "fleet_dead_letters") == 2
    assert value_of(samples, "fleet_rejected_events") == 1
    assert value_of(samples, "fleet_gap_events") == 2
    assert value_of(samples, "database_up") == 1
    labels = [value for _, pairs in samples for _, value in pairs]
    assert not [value for value in labels if "0042" in value or "0043" in value]


async def test_receiver_without_database_still_exports_its_own_metrics(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    with closing(sqlite3.connect(receiver.database)) as tool, tool:
        tool.execute("ALTER TABLE agents RENAME TO gone")

    samples = await scraped(receiver)

    assert value_of(samples, "database_up") == 0
    assert value_of(samples, "fleet_stores") is None
    assert value_of(samples, "batches_total") == 0


async def test_receivers_of_one_database_export_equal_fleet_and_separate_process_metrics(
    postgresql_server: PostgresqlServer, till: SimulatedAgent, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, database={"url": await postgresql_server.new_database()})
    async with receiver_under_test(settings) as first, receiver_under_test(settings) as second:
        await first.enroll(till)
        await first.send(till, session(1), session(2, type="x"))
        of_first, of_second = await scraped(first), await scraped(second)

    fleets = [
        {key: value for key, value in samples.items() if key[0].startswith("loyalty_hq_fleet_")}
        for samples in (of_first, of_second)
    ]
    assert fleets[0] == fleets[1]
    assert value_of(of_second, "fleet_rejected_events") == 1
    assert [value_of(one, "batches_total") for one in (of_first, of_second)] == [1, 0]


async def test_concurrent_scrapes_share_one_fleet_query(
    postgresql_server: PostgresqlServer, till: SimulatedAgent, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, database={"url": await postgresql_server.new_database()})
    async with receiver_under_test(settings) as receiver:
        await receiver.enroll(till)
        with recorded_statements() as statements:
            answers = await asyncio.gather(*(receiver.get("/metrics") for _ in range(9)))

    assert {response.status for response in answers} == {200}
    assert len([one for one in statements if one.startswith("WITH stores")]) == 1


async def test_help_text_of_fleet_metrics_says_whole_database(receiver: Receiver) -> None:
    """A warning against summing them over receivers."""
    lines = (await receiver.get("/metrics")).body.decode().splitlines()

    helps = dict(line.removeprefix("# HELP ").split(" ", 1) for line in lines if "# HELP" in line)
    assert all(
        text.startswith("Whole database" if "_fleet_" in name else "This process")
        for name, text in helps.items()
    )

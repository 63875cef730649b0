"""What Prometheus is told of a receiver and of the fleet."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from sync.protocol.wire import BATCHES_PATH
from sync.receiver.admission.memory_budget import REQUEST_BYTES
from sync.receiver.admission.rate_limit import TooBusy
from sync.receiver.ingest.accept import Taken
from sync.receiver.reports.metrics import Metrics
from tests.exposition import Samples, samples_of
from tests.head_office.postgresql import PostgresqlServer
from tests.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.head_office.sender import Sender, answer, session
from tests.head_office.spreading import heard


async def scraped(receiver: Receiver) -> Samples:
    return samples_of((await receiver.get("/metrics")).body)


def told(samples: Samples, name: str, **labels: str) -> float | None:
    """Return the value of a sample; None where there is none."""
    return samples.get((f"loyalty_hq_{name}", frozenset(labels.items())))


async def test_events_are_counted_by_what_became_of_them(receiver: Receiver, till: Sender) -> None:
    await receiver.send(
        till, session(3, "one"), answer(4, "one"), session(5, type="x"), baseSequence=3
    )
    await receiver.send(till, session(3, "one"), answer(4, "one"), session(6, "one"))
    await receiver.send(till, session(3, "altered"))

    samples = await scraped(receiver)

    assert {
        outcome: told(samples, "events_total", outcome=outcome)
        for outcome in ("taken", "repeated", "refused", "altered")
    } == {"taken": 2, "repeated": 2, "refused": 2, "altered": 1}
    assert told(samples, "batches_total") == told(samples, "batch_seconds_count") == 3
    assert told(samples, "gaps_total") == 1


async def test_outcomes_stand_at_nought_before_the_first_batch(receiver: Receiver) -> None:
    """An increase from nothing at all is none to Prometheus."""
    samples = await scraped(receiver)

    assert told(samples, "info", version="0.1.0") == 1
    assert told(samples, "events_total", outcome="refused") == 0
    assert told(samples, "batch_seconds_count") == 0


async def test_the_bytes_of_bodies_in_hand_are_told(receiver: Receiver, till: Sender) -> None:
    """By these whoever watches sees that head office is about to refuse what comes."""
    budget = receiver.address.budget
    with budget.holding(till.name, lambda: TooBusy(1)) as held:
        held.add(1_000_000)
        during = await scraped(receiver)
    after = await scraped(receiver)

    assert told(during, "body_bytes") == 1_000_000 + REQUEST_BYTES
    assert told(after, "body_bytes") == 0


async def test_requests_are_counted_by_address_and_status(receiver: Receiver, till: Sender) -> None:
    await receiver.send(till, session(1))
    await receiver.send(till, session(9))
    await receiver.beat(till)
    await receiver.get("/v1/sessions/somebody")
    await receiver.get("/nothing/here")
    await receiver.ask(b"no HTTP\r\n\r\n")

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
    assert told(samples, "problems_total", code="SEQUENCE_GAP") == 1
    assert told(samples, "heartbeats_total") == 1


def test_a_batch_takes_from_its_body_to_its_answer() -> None:
    seconds = iter([100.0, 100.2])
    metrics = Metrics("0.1.0", lambda: next(seconds))

    metrics.taken(Taken(0), 0, metrics.begin())

    samples = samples_of(metrics.render(None))
    assert told(samples, "batch_seconds_bucket", le="0.1") == 0
    assert told(samples, "batch_seconds_bucket", le="0.25") == 1


async def test_the_fleet_is_told_in_figures_and_no_store_by_name(
    receiver: Receiver, till: Sender
) -> None:
    await receiver.enroll(Sender("0043"))
    await receiver.send(till, session(3), session(4, type="x"), baseSequence=3)
    await receiver.beat(till, deadLetters=2, outstanding=1, freeBytes=10**12)

    body = (await receiver.get("/metrics")).body

    samples = samples_of(body)
    assert told(samples, "fleet_stores") == 2
    assert told(samples, "fleet_stores_in_condition", condition="silent") == 1
    assert told(samples, "fleet_stores_in_condition", condition="refused") == 1
    assert told(samples, "fleet_dead_letters") == 2
    assert told(samples, "fleet_rejected_events") == 1
    assert told(samples, "fleet_gap_events") == 2
    assert told(samples, "database_up") == 1
    labels = [value for _, pairs in samples for _, value in pairs]
    assert not [value for value in labels if "0042" in value or "0043" in value]


async def test_without_its_database_a_receiver_still_tells_of_itself(
    receiver: Receiver, till: Sender
) -> None:
    with closing(sqlite3.connect(receiver.database)) as tool, tool:
        tool.execute("ALTER TABLE agents RENAME TO gone")

    samples = await scraped(receiver)

    assert told(samples, "database_up") == 0
    assert told(samples, "fleet_stores") is None
    assert told(samples, "batches_total") == 0


async def test_receivers_side_by_side_tell_the_same_of_the_fleet_and_each_of_itself(
    postgresql_server: PostgresqlServer, till: Sender, tmp_path: Path
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
    assert told(of_second, "fleet_rejected_events") == 1
    assert [told(one, "batches_total") for one in (of_first, of_second)] == [1, 0]


async def test_however_many_scrape_the_fleet_is_read_once(
    postgresql_server: PostgresqlServer, till: Sender, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, database={"url": await postgresql_server.new_database()})
    async with receiver_under_test(settings) as receiver:
        await receiver.enroll(till)
        with heard() as statements:
            answers = await asyncio.gather(*(receiver.get("/metrics") for _ in range(9)))

    assert {answered.status for answered in answers} == {200}
    assert len([one for one in statements if "FROM agents" in one]) == 1


async def test_figures_that_are_of_the_whole_database_say_so(receiver: Receiver) -> None:
    """Lest an alert sums them over receivers."""
    lines = (await receiver.get("/metrics")).body.decode().splitlines()

    helps = dict(line.removeprefix("# HELP ").split(" ", 1) for line in lines if "# HELP" in line)
    assert all(
        text.startswith("Whole database" if "_fleet_" in name else "This process")
        for name, text in helps.items()
    )

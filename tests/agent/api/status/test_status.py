"""Health, readiness, metrics, status and the OpenAPI document."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.config.central import CentralSettings
from agent.config.settings import ApiSettings, StorageSettings, StoreSettings
from agent.store.db.connect import DATABASE_FILE
from tests.agent.api.conftest import StartAgent
from tests.support.agent.in_process import SESSIONS, Agent, agent_under_test, insert_in, settings_in
from tests.support.central import ScriptedCentral
from tests.support.clocks import AgentClock
from tests.support.prometheus import Samples, parse_samples
from tests.support.shop.shop import shop_at

EMAIL = {"status": "accepted", "emailAddress": "guest@example.com"}


async def metrics(agent: Agent) -> Samples:
    return parse_samples((await agent.get("/metrics")).body)


async def gauge(agent: Agent, name: str, **labels: str) -> float | None:
    return (await metrics(agent)).get((f"loyalty_agent_{name}", frozenset(labels.items())))


def full_storage(directory: Path) -> StorageSettings:
    """Return settings that require more free space than any disk has."""
    return StorageSettings(directory=directory, min_free_bytes=2**60, ballast_bytes=0)


def down_storage(directory: Path) -> StorageSettings:
    """Return settings with an invalid key file."""
    key_file = directory.parent / "wrong.key"
    key_file.write_text("this is no key\n")
    return StorageSettings(directory=directory, min_free_bytes=0, encryption_key_file=key_file)


@pytest.fixture
async def full(start_agent: StartAgent, tmp_path: Path) -> Agent:
    return await start_agent(storage=full_storage(tmp_path / "state"))


@pytest.fixture
async def down(start_agent: StartAgent, tmp_path: Path) -> Agent:
    return await start_agent(storage=down_storage(tmp_path / "state"))


@pytest.fixture(params=["full", "down"])
async def failing(
    start_agent: StartAgent, tmp_path: Path, request: pytest.FixtureRequest
) -> tuple[Agent, str]:
    """An agent that cannot record captures, and the state of its storage."""
    storage = {"full": full_storage, "down": down_storage}[request.param]
    return await start_agent(storage=storage(tmp_path / "state")), request.param


async def test_working_agent_is_alive_and_ready(agent: Agent) -> None:
    alive, ready = await agent.get("/healthz"), await agent.get("/readyz")

    assert (alive.status, alive.body) == (200, b'{"status":"alive"}')
    assert (ready.status, ready.body) == (200, b'{"status":"ready"}')


async def test_agent_without_central_is_ready(start_agent: StartAgent) -> None:
    agent = await start_agent(central=CentralSettings(url="https://hq.invalid/base"))

    ready = await agent.get("/readyz")

    assert ready.status == 200


async def test_full_disk_answers_507_and_is_not_ready(full: Agent) -> None:
    session = await full.start_session({"correlationId": "x"})
    email = await full.set_email("x", EMAIL)
    ready = await full.get("/readyz")
    alive = await full.get("/healthz")

    for answer in (session, email):
        assert (answer.status, answer.members()["errorCode"]) == (507, "STORAGE_FULL")
    assert (ready.status, ready.members()["errorCode"]) == (503, "UNAVAILABLE")
    assert alive.status == 200


async def test_broken_storage_answers_503_and_is_not_ready(down: Agent) -> None:
    session = await down.start_session({"correlationId": "x"})
    email = await down.set_email("x", EMAIL)
    ready = await down.get("/readyz")
    alive = await down.get("/healthz")

    for answer in (session, email, ready):
        assert (answer.status, answer.members()["errorCode"]) == (503, "UNAVAILABLE")
        assert int(answer.header("Retry-After") or 0) > 0
    assert alive.status == 200


@pytest.mark.parametrize("storage", [full_storage, down_storage])
async def test_preflight_succeeds_during_a_storage_error(
    start_agent: StartAgent, tmp_path: Path, storage: Callable[[Path], StorageSettings]
) -> None:
    """A browser hides an answer from the page, even its status, if the preflight failed."""
    pos = {"Origin": "https://pos.example"}
    api = ApiSettings(port=0, cors_origins=(pos["Origin"],))
    agent = await start_agent(storage=storage(tmp_path / "state"), api=api)

    preflight = await agent.request(
        "OPTIONS", SESSIONS, headers=pos | {"Access-Control-Request-Method": "POST"}
    )
    answer = await agent.start_session({"correlationId": "x"}, **pos)

    assert preflight.status == 204
    assert answer.status in {503, 507}
    for response in (preflight, answer):
        assert response.header("Access-Control-Allow-Origin") == pos["Origin"]
    assert "Retry-After" in (response.header("Access-Control-Expose-Headers") or "")


async def test_invalid_request_is_400_even_during_a_storage_error(
    failing: tuple[Agent, str],
) -> None:
    agent, _ = failing

    refused = await agent.start_session({"correlationId": ""})

    assert refused.status == 400


async def test_session_state_is_readable_on_a_full_disk(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    async with agent_under_test(settings_in(tmp_path / "old")) as agent:
        await agent.start_session({"correlationId": "x"})
    agent = await start_agent(storage=full_storage(tmp_path / "old"))

    answer = await agent.get("/agent/v1/sessions/x")

    assert answer.status == 200


async def test_unreadable_database_is_503(agent: Agent, tmp_path: Path) -> None:
    await agent.start_session({"correlationId": "x"})
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    (tmp_path / "state").touch()

    answer = await agent.get("/agent/v1/sessions/x")
    # From the connection that is still open.
    letters = await agent.get("/agent/v1/dead-letters")
    status = await agent.get("/agent/v1/status")
    metered = await gauge(agent, "waiting_events")

    assert (answer.status, answer.members()["errorCode"]) == (503, "UNAVAILABLE")
    assert (letters.status, letters.body) == (200, b"[]")
    assert (status.status, status.members()["waiting"]) == (200, None)
    assert metered is None


async def test_metrics_are_prometheus_text(agent: Agent) -> None:
    answer = await agent.get("/metrics")

    assert (answer.header("Content-Type") or "").startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.body.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert all(name.startswith("loyalty_agent_") for name in names)
    assert all(family.documentation for family in families)


async def test_metrics_count_captures_repeats_and_refusals(agent: Agent) -> None:
    for body in ({"correlationId": "x"}, {"correlationId": "x"}, {"correlationId": ""}):
        await agent.start_session(body)
    for _ in range(2):
        await agent.set_email("x", EMAIL)
    await agent.get("/nothing")
    await agent.send_raw(b"rubbish\r\n\r\n")

    counted = await metrics(agent)

    captures = {
        (kind, outcome): counted[
            ("loyalty_agent_captures_total", frozenset({("type", kind), ("outcome", outcome)}))
        ]
        for kind in ("session", "email")
        for outcome in ("recorded", "repeated")
    }
    assert set(captures.values()) == {1.0}
    problems = "loyalty_agent_problems_total"
    assert counted[(problems, frozenset({("code", "INVALID_REQUEST")}))] == 2
    assert counted[(problems, frozenset({("code", "NOT_FOUND")}))] == 1


async def test_metrics_contain_number_and_age_of_undelivered_events(
    agent: Agent, clock: AgentClock
) -> None:
    await agent.start_session({"correlationId": "x"})
    await agent.start_session({"correlationId": "y"})
    clock.wall_us += 90_000_000

    assert await gauge(agent, "waiting_events") == 2
    assert await gauge(agent, "last_sequence") == 2
    assert await gauge(agent, "oldest_waiting_seconds") == 90
    assert await gauge(agent, "ready") == 1


async def test_metrics_show_an_agent_that_is_not_ready(full: Agent) -> None:
    assert await gauge(full, "ready") == 0


async def test_status_contains_identity_storage_and_central(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = await start_agent(
        store=StoreSettings(store_id="store-7", till_id="till-3"),
        central=CentralSettings(url="https://hq.example/loyalty", protocol="replay"),
    )
    receipt = (await agent.start_session({"correlationId": "x"})).receipt

    status = (await agent.get("/agent/v1/status")).members()

    assert (status["storeId"], status["tillId"]) == ("store-7", "till-3")
    assert f"{status['epoch']}/{status['lastSequence']}" == receipt
    assert (status["waiting"], status["watermark"], status["deadLetters"]) == (1, 0, 0)
    assert status["oldestWaitingAt"] == status["startedAt"] == "2026-01-01T00:00:00.000Z"
    assert status["central"] == {"url": "https://hq.example/loyalty", "protocol": "replay"}
    storage = status["storage"]
    assert isinstance(storage, dict)
    assert (storage["state"], storage["directory"]) == ("ready", str(tmp_path / "state"))
    assert storage["setAside"] == []
    assert "reason" not in storage


async def test_status_names_copies_and_purges_ahead_of_retention(tmp_path: Path) -> None:
    clock = AgentClock()
    async with agent_under_test(settings_in(tmp_path), clock) as agent:
        status = (await agent.get("/agent/v1/status")).members()["storage"]
        assert isinstance(status, dict)
        assert (status["copies"], status["earlyPurge"]) == ([], None)
    at_us, kept_us = clock().wall_us - 1_000_000, 3 * 24 * 3600 * 1_000_000
    purged = (at_us, kept_us, "max_bytes")
    insert_in(tmp_path, ("destination", "central", 0, 0, 0, 0, 0, 0, 0, *purged))
    (tmp_path / "agent.db.before-0003").write_bytes(b"no database of ours")
    async with agent_under_test(settings_in(tmp_path), clock) as agent:
        status = (await agent.get("/agent/v1/status")).members()["storage"]
        assert isinstance(status, dict)
        assert [copy["name"] for copy in status["copies"]] == ["agent.db.before-0003"]
        assert status["earlyPurge"] == {
            "at": "2025-12-31T23:59:59.000Z",
            "keptDays": 3.0,
            "deliveredDays": 30.0,
            "limit": "max_bytes",
        }
        assert await gauge(agent, "purged_early") == 1


async def test_status_counts_settled_and_dead_letter_events(tmp_path: Path) -> None:
    async with agent_under_test(settings_in(tmp_path)) as agent:
        for number in range(5):
            await agent.start_session({"correlationId": str(number)})
    insert_in(
        tmp_path,
        ("destination", "central", 2),
        ("delivery", "central", 2, 1),
        ("settled", "central", 4, 1),
        ("dead_letter", "central", 1, "CODE", "message", 400, 1, 1),
    )

    async with agent_under_test(settings_in(tmp_path)) as agent:
        status = (await agent.get("/agent/v1/status")).members()

    assert (status["watermark"], status["waiting"], status["deadLetters"]) == (2, 2, 1)


async def test_status_and_page_contain_the_storage_error(failing: tuple[Agent, str]) -> None:
    agent, state = failing
    remedy = {"full": "[storage] min_free_bytes", "down": "wrong.key does not hold"}[state]

    storage = (await agent.get("/agent/v1/status")).members()["storage"]
    page = (await agent.get("/")).body.decode()

    assert isinstance(storage, dict)
    assert storage["state"] == state
    assert remedy in storage["reason"]
    assert "Captures are rejected" in page
    assert remedy in page


async def test_document_is_served_as_json(agent: Agent) -> None:
    answer = await agent.get("/openapi.json")

    assert answer.header("Content-Type") == "application/json; charset=utf-8"
    assert answer.members()["openapi"] == "3.1.0"


async def test_delivery_metrics_are_counters(tmp_path: Path) -> None:
    async with ScriptedCentral() as central, shop_at(tmp_path, central.url, "batch") as shop:
        await shop.trade(2)
        await shop.delivered()
        counted = await metrics(shop.agent)

    counters = ("passes", "failed_passes", "assumed_events", "refused_events", "delivered_events")
    for name in counters:
        assert (f"loyalty_agent_sync_{name}_total", frozenset()) in counted
    assert counted[("loyalty_agent_sync_delivered_events_total", frozenset())] >= 2


@pytest.mark.process  # the salvage of the quarantined database
async def test_damage_that_only_the_status_reads_quarantines_the_database(tmp_path: Path) -> None:
    """It was neither reported nor repaired, and no heartbeat was sent any more."""
    settings = settings_in(tmp_path)
    async with agent_under_test(settings) as agent:
        await agent.start_session({"correlationId": "x"})
        [(root,)] = agent.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'salvage'")
    assert isinstance(root, int)
    with (tmp_path / DATABASE_FILE).open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(bytes(4096))

    async with agent_under_test(settings) as agent:
        await agent.get("/agent/v1/status")
        status = (await agent.get("/agent/v1/status")).members()

    storage = status["storage"]
    assert isinstance(storage, dict)
    assert (status["lastSequence"], len(storage["setAside"])) == (0, 1)


async def test_salvaged_and_unreadable_captures_are_counted(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with agent_under_test(settings):
        pass
    insert_in(tmp_path, ("salvage", "20260101T000000Z", 4, 4, 3, 1, 1))
    (tmp_path / "set-aside" / "20260102T000000Z").mkdir(parents=True)
    (tmp_path / "set-aside" / "20260102T000000Z" / "delivered").write_text("2\n")

    async with agent_under_test(settings) as agent:
        storage = (await agent.get("/agent/v1/status")).members()["storage"]
        metrics = (await agent.get("/metrics")).body.decode()

    assert isinstance(storage, dict)
    assert storage["salvage"] == {"pending": 0, "salvaged": 3, "unreadable": 1}
    assert "loyalty_agent_salvaged_captures_total 3.0" in metrics
    assert "loyalty_agent_unreadable_captures_total 1.0" in metrics
    assert "loyalty_agent_salvage_pending 0.0" in metrics

"""The read API: responses and access control."""

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.head_office.messages import AT, EPOCH, SimulatedAgent, answer, session
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.sync.receiver.conftest import StartReceiver

PROXY = {"trusted_proxy_header": "X-User", "trusted_proxies": ["127.0.0.1"]}
READ = ["/v1/stores", "/v1/stores/0042", "/v1/sessions/one", "/metrics"]


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "admin"
    file.write_text("s3cret-of-twenty-letters\n")
    return file


async def test_liveness_and_readiness_are_200(receiver: Receiver) -> None:
    alive, ready = await receiver.get("/healthz"), await receiver.get("/readyz")

    assert (alive.status, ready.status) == (200, 200)


async def test_without_its_database_the_receiver_is_alive_but_not_ready(receiver: Receiver) -> None:
    with closing(sqlite3.connect(receiver.database)) as tool, tool:
        tool.execute("ALTER TABLE tokens RENAME TO gone")

    alive, ready = await receiver.get("/healthz"), await receiver.get("/readyz")

    assert (alive.status, ready.status) == (200, 503)
    assert ready.header("Retry-After") is not None


async def test_enrolled_tills_are_listed_before_their_first_batch(receiver: Receiver) -> None:
    response = await receiver.get("/v1/stores")

    new = {"state": "not-installed", "conditions": ["not-installed"], "closedAt": None}
    assert response.members() == {
        "asOf": "2026-03-04T05:06:07.000Z",
        "stores": [{"storeId": "0042", "tillId": "till-1", **new, "epochs": []}],
    }


async def test_store_lists_the_position_of_each_epoch(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1))
    await receiver.heartbeat(till, lastSequence=3, watermark=1, outstanding=2)

    (store,) = json.loads((await receiver.get("/v1/stores")).body)["stores"]

    (epoch,) = store["epochs"]
    assert epoch["epoch"] == EPOCH
    assert (epoch["acceptedThrough"], epoch["lastSequence"], epoch["outstanding"]) == (1, 3, 2)
    assert epoch["lastSeenAt"] == "2026-03-04T05:06:07.000Z"


async def test_store_lists_its_own_tills_only(receiver: Receiver) -> None:
    await receiver.enroll(SimulatedAgent(store_id="0042", till_id="till-2"))
    await receiver.enroll(SimulatedAgent(store_id="0043"))

    response = await receiver.get("/v1/stores/0042")

    tills = json.loads(response.body)["stores"]
    assert [(one["storeId"], one["tillId"]) for one in tills] == [
        ("0042", "till-1"),
        ("0042", "till-2"),
    ]


async def test_unknown_store_is_404(receiver: Receiver) -> None:
    assert (await receiver.get("/v1/stores/9999")).status == 404


async def test_session_is_listed_for_every_store_mask_addresses(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    other = SimulatedAgent(store_id="0043")
    await receiver.enroll(other)
    await receiver.send(till, session(1, "one"), answer(2, "one", "guest@example.com"))
    await receiver.send(other, session(1, "one"))

    response = await receiver.get("/v1/sessions/one")

    sessions_found = json.loads(response.body)["sessions"]
    assert [one["storeId"] for one in sessions_found] == ["0042", "0043"]
    assert [one["status"] for one in sessions_found[0]["emailAnswers"]] == ["accepted"]
    assert b"example.com" not in response.body


async def test_answers_are_in_sequence_order(tmp_path: Path, till: SimulatedAgent) -> None:
    """The last one counts, even if an earlier one was rejected first and accepted later."""
    times = iter(AT + timedelta(minutes=number) for number in range(100))
    async with receiver_under_test(settings_in(tmp_path / "own"), lambda: next(times)) as receiver:
        await receiver.enroll(till)
        await receiver.send(
            till,
            session(1, "one"),
            answer(2, "one", occurredAt="yesterday"),
            answer(3, "one", None, "declined"),
        )
        await receiver.send(till, answer(2, "one"))

        response = await receiver.get("/v1/sessions/one")

    (sessions_found,) = json.loads(response.body)["sessions"]
    assert [one["sequence"] for one in sessions_found["emailAnswers"]] == [2, 3]


async def test_answers_of_a_later_epoch_follow_those_of_an_earlier_one(
    tmp_path: Path, till: SimulatedAgent
) -> None:
    times = iter(AT + timedelta(minutes=number) for number in range(100))
    async with receiver_under_test(settings_in(tmp_path / "own"), lambda: next(times)) as receiver:
        await receiver.enroll(till)
        await receiver.send(till, session(1, "one"), session(2), answer(3, "one", None, "deferred"))
        await receiver.send(SimulatedAgent(epoch="0-later"), answer(1, "one"))

        response = await receiver.get("/v1/sessions/one")

    (sessions_found,) = json.loads(response.body)["sessions"]
    assert [one["status"] for one in sessions_found["emailAnswers"]] == ["deferred", "accepted"]


@pytest.mark.parametrize("name", ["a/b", "ä ?#%", "..a"])
async def test_session_is_found_by_any_percent_encoded_id(
    receiver: Receiver, till: SimulatedAgent, name: str
) -> None:
    await receiver.send(till, session(1, name))
    encoded = "".join(f"%{byte:02X}" for byte in name.encode())

    response = await receiver.get(f"/v1/sessions/{encoded}")

    assert response.status == 200
    assert json.loads(response.body)["sessions"][0]["correlationId"] == name


async def test_unknown_session_is_404(receiver: Receiver) -> None:
    assert (await receiver.get("/v1/sessions/none")).members()["errorCode"] == "NOT_FOUND"


@pytest.mark.parametrize("path", READ)
async def test_reading_requires_the_generated_token_by_default(
    receiver: Receiver, path: str
) -> None:
    without = await receiver.request("GET", path)
    with_it = await receiver.get(path)

    assert (without.status, without.members()["errorCode"]) == (401, "UNAUTHORIZED")
    assert with_it.status in {200, 404}


@pytest.mark.parametrize("path", READ)
async def test_if_it_is_opened_this_machine_reads_but_no_forwarded_request(
    start_receiver: StartReceiver, path: str
) -> None:
    receiver = await start_receiver(access={"open_on_loopback": True})

    here = await receiver.get(path)
    forwarded = await receiver.get(path, X_Forwarded_For="198.51.100.7")

    assert here.status in {200, 404}
    assert forwarded.status == 401


@pytest.mark.parametrize("path", READ)
async def test_with_a_token_configured_reading_needs_it(
    start_receiver: StartReceiver, token_file: Path, path: str
) -> None:
    receiver = await start_receiver(access={"admin_token_file": token_file})

    without = await receiver.get(path)
    right = await receiver.get(path, Authorization="Bearer s3cret-of-twenty-letters")
    wrong = await receiver.get(path, Authorization="Bearer other")

    assert (without.status, wrong.status) == (401, 401)
    assert right.status in {200, 404}


@pytest.mark.parametrize("path", READ)
async def test_agent_token_may_not_read(
    start_receiver: StartReceiver, token_file: Path, till: SimulatedAgent, path: str
) -> None:
    receiver = await start_receiver(access={"admin_token_file": token_file})
    token = await receiver.enroll(till)

    assert (await receiver.get(path, Authorization=f"Bearer {token}")).status == 401


async def test_header_of_the_trusted_proxy_may_read(start_receiver: StartReceiver) -> None:
    receiver = await start_receiver(access=PROXY)

    without = await receiver.get("/v1/stores")
    with_it = await receiver.get("/v1/stores", X_User="ann")

    assert (without.status, with_it.status) == (401, 200)


async def test_health_endpoints_need_no_token(
    start_receiver: StartReceiver, token_file: Path
) -> None:
    receiver = await start_receiver(access={"admin_token_file": token_file})

    assert (await receiver.get("/healthz")).status == 200
    assert (await receiver.get("/readyz")).status == 200


async def test_stores_can_be_paged(receiver: Receiver) -> None:
    await receiver.enroll(SimulatedAgent(store_id="0043"))
    await receiver.enroll(SimulatedAgent(store_id="0044"))

    first = json.loads((await receiver.get("/v1/stores?limit=2")).body)
    second = json.loads((await receiver.get(f"/v1/stores?limit=2&after={first['next']}")).body)

    assert [one["storeId"] for one in first["stores"]] == ["0042", "0043"]
    assert [one["storeId"] for one in second["stores"]] == ["0044"]
    assert "next" not in second


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "limit=10000", "after=%00"])
async def test_invalid_paging_is_400(receiver: Receiver, query: str) -> None:
    assert (await receiver.get(f"/v1/stores?{query}")).status == 400

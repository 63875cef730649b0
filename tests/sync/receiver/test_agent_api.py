"""Responses to agents, on real sockets and a real database file."""

import gzip
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest
import zstandard

from sync.protocol.wire import BATCHES_PATH, HEARTBEATS_PATH, PROGRAM_PATH
from tests.support.head_office.messages import EPOCH, SimulatedAgent, answer, session, sessions
from tests.support.head_office.receiver import Receiver
from tests.support.raw_http import HttpResponse, exchange
from tests.sync.receiver.conftest import StartReceiver

SENT = "SELECT sequence FROM sessions ORDER BY sequence"


def assert_error(response: HttpResponse, status: int, code: str) -> None:
    """Check the error body's fields and their order, the content type and the cache headers."""
    assert response.status == status
    members = response.members()
    assert list(members)[:3] == ["statusCode", "errorMessage", "errorCode"]
    assert (members["statusCode"], members["errorCode"]) == (status, code)
    assert members["errorMessage"]
    assert response.header("Content-Type") == "application/json; charset=utf-8"
    assert response.header("Cache-Control") == "no-cache, no-store, must-revalidate"
    assert response.header("Server") == "loyalty-hq"


async def test_batch_response_has_accepted_through_and_rejections(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    response = await receiver.send(till, session(1), session(2, type="points.burned"))

    assert response.status == 200
    assert response.members() == {
        "acceptedThrough": 2,
        "rejected": [
            {
                "sequence": 2,
                "errorCode": "UNKNOWN_TYPE",
                "errorMessage": "Unknown event type",
            }
        ],
    }


async def test_acknowledged_events_are_committed(receiver: Receiver, till: SimulatedAgent) -> None:
    assert (await receiver.send(till, *sessions(1, 3))).status == 200

    assert receiver.rows(SENT) == [(1,), (2,), (3,)]


async def test_sequence_gap_response_has_the_expected_sequence(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, *sessions(1, 2))

    response = await receiver.send(till, session(9))

    assert_error(response, 409, "SEQUENCE_GAP")
    assert response.members()["expectedSequence"] == 3


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("zstd", zstandard.compress),
        ("gzip", gzip.compress),
        ("identity", bytes),
        ("ZSTD", zstandard.compress),
    ],
)
async def test_body_in_any_supported_encoding_is_accepted(
    receiver: Receiver, till: SimulatedAgent, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    body = encode(till.batch(*sessions(1, 200)))

    response = await receiver.post(BATCHES_PATH, body, till, Content_Encoding=encoding)

    assert response.members() == {"acceptedThrough": 200, "rejected": []}


async def test_unknown_encoding_is_415(receiver: Receiver, till: SimulatedAgent) -> None:
    body = till.batch(session(1))

    response = await receiver.post(BATCHES_PATH, body, till, Content_Encoding="br")

    assert_error(response, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert "zstd" in str(response.header("Accept-Encoding"))


async def test_decompression_bomb_is_413(receiver: Receiver, till: SimulatedAgent) -> None:
    """Small as received, larger than the limit when decompressed."""
    bomb = gzip.compress(bytes(64 * 1024 * 1024 + 1), 1)

    response = await receiver.post(BATCHES_PATH, bomb, till, Content_Encoding="gzip")

    assert_error(response, 413, "PAYLOAD_TOO_LARGE")


async def test_too_many_events_are_413(receiver: Receiver, till: SimulatedAgent) -> None:
    """The status makes the agent halve its batch."""
    body = zstandard.compress(till.batch(*sessions(1, 10_001)))

    response = await receiver.post(BATCHES_PATH, body, till, Content_Encoding="zstd")

    assert_error(response, 413, "PAYLOAD_TOO_LARGE")


async def test_too_many_epochs_in_a_heartbeat_are_413(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    epochs = [{"epoch": f"epoch-{number}", "lastSequence": 0} for number in range(1001)]

    assert_error(await receiver.heartbeat(till, epochs=epochs), 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("path", [BATCHES_PATH, HEARTBEATS_PATH])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"storeId": "0042"}', b"\xff"])
async def test_invalid_body_is_400(
    receiver: Receiver, till: SimulatedAgent, path: str, body: bytes
) -> None:
    assert_error(await receiver.post(path, body, till), 400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer no.token", "Basic dDp0", "Bearer \xe9.x"]
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", BATCHES_PATH), ("POST", HEARTBEATS_PATH), ("GET", PROGRAM_PATH)]
)
async def test_missing_or_unknown_token_is_401(
    receiver: Receiver, till: SimulatedAgent, method: str, path: str, authorization: str
) -> None:
    response = await receiver.request(method, path, till.batch(), Authorization=authorization)

    assert_error(response, 401, "UNAUTHORIZED")
    assert response.header("WWW-Authenticate") == "Bearer"


@pytest.mark.parametrize(
    "other", [SimulatedAgent(store_id="0043"), SimulatedAgent(till_id="till-2")]
)
async def test_batch_in_the_name_of_another_agent_is_403_and_stores_nothing(
    receiver: Receiver, till: SimulatedAgent, other: SimulatedAgent
) -> None:
    batch = await receiver.post(BATCHES_PATH, other.batch(session(1)), till)
    heartbeat = await receiver.post(HEARTBEATS_PATH, other.heartbeat(), till)

    assert_error(batch, 403, "FORBIDDEN")
    assert_error(heartbeat, 403, "FORBIDDEN")
    assert receiver.rows("SELECT * FROM agents") == []


async def test_unknown_path_is_404(receiver: Receiver) -> None:
    assert_error(await receiver.get("/nowhere"), 404, "NOT_FOUND")


async def test_wrong_method_is_405_with_allow_header(receiver: Receiver) -> None:
    response = await receiver.request("PUT", BATCHES_PATH)

    assert_error(response, 405, "METHOD_NOT_ALLOWED")
    assert response.header("Allow") == "POST"


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x16\x03\x01 TLS\r\n\r\n", b"GET / HTTP/1.1\r\nbroken header\r\n\r\n"],
)
async def test_malformed_http_gets_the_usual_error_body(
    receiver: Receiver, request_bytes: bytes
) -> None:
    assert_error(await receiver.send_raw(request_bytes), 400, "INVALID_REQUEST")


async def test_unknown_expectation_is_417(receiver: Receiver) -> None:
    response = await receiver.request("POST", BATCHES_PATH, b"{}", Expect="miracles")

    assert_error(response, 417, "INVALID_REQUEST")


async def test_exceeded_event_rate_is_429_with_retry_after(
    start_receiver: StartReceiver, till: SimulatedAgent
) -> None:
    receiver = await start_receiver(intake={"events_per_second": 1})
    await receiver.enroll(till)
    await receiver.send(till, *sessions(1, 50))

    response = await receiver.send(till, session(51))

    assert_error(response, 429, "UNAVAILABLE")
    assert int(str(response.header("Retry-After"))) > 1
    assert receiver.rows("SELECT max(sequence) FROM sessions") == [(50,)]


async def test_locked_database_is_503_and_stores_nothing(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1))
    with closing(sqlite3.connect(receiver.database, isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")

        response = await receiver.send(till, session(2))

    assert_error(response, 503, "UNAVAILABLE")
    assert int(str(response.header("Retry-After"))) > 0
    assert receiver.rows(SENT) == [(1,)]


async def test_batch_is_accepted_after_the_database_lock_is_released(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    with closing(sqlite3.connect(receiver.database, isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")
        await receiver.send(till, session(1))

    assert (await receiver.send(till, session(1))).status == 200


async def test_internal_error_is_5xx_and_stores_nothing(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    """A dropped table is not the agent's fault."""
    with closing(sqlite3.connect(receiver.database)) as tool, tool:
        tool.execute("DROP TABLE email_answers")

    response = await receiver.send(till, session(1, "one"), answer(2, "one"))

    assert response.status in {500, 503}
    assert receiver.rows(SENT) == []


async def test_heartbeat_response_has_accepted_through_of_each_epoch(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, *sessions(1, 4))

    response = await receiver.heartbeat(till, epochs=[{"epoch": "older", "lastSequence": 7}])

    assert response.status == 200
    assert response.members() == {
        "epochs": [
            {"epoch": "older", "acceptedThrough": 0},
            {"epoch": EPOCH, "acceptedThrough": 4},
        ]
    }


async def test_agent_refills_a_head_office_restored_from_backup(
    receiver: Receiver, start_receiver: StartReceiver, till: SimulatedAgent
) -> None:
    """After the file is replaced by an old copy, the agent is told and resends from there."""
    await receiver.send(till, *sessions(1, 2))
    with closing(sqlite3.connect(receiver.directory / "backup.db")) as backup:
        with closing(sqlite3.connect(receiver.database)) as present:
            present.backup(backup)
        await receiver.send(till, *sessions(3, 5))
        restored = await start_receiver(
            database={"url": f"sqlite+aiosqlite:///{receiver.directory / 'backup.db'}"}
        )
    restored.tokens = receiver.tokens

    response = await restored.heartbeat(till, lastSequence=5, watermark=5)
    refused = await restored.send(till, session(6))
    taken = await restored.send(till, *sessions(3, 6))

    assert response.members() == {"epochs": [{"epoch": EPOCH, "acceptedThrough": 2}]}
    assert refused.members()["expectedSequence"] == 3
    assert taken.members()["acceptedThrough"] == 6


async def test_unchanged_program_is_304_for_its_etag(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    token = f"Bearer {receiver.tokens[till.store_id, till.till_id]}"
    first = await receiver.get(PROGRAM_PATH, Authorization=token)

    again = await receiver.get(
        PROGRAM_PATH, Authorization=token, If_None_Match=str(first.header("ETag"))
    )

    assert (first.status, first.members()["currency"]) == (200, "CAD")
    assert (again.status, again.body) == (304, b"")
    assert again.header("ETag") == first.header("ETag")


async def test_changed_program_has_another_etag(
    receiver: Receiver, start_receiver: StartReceiver, till: SimulatedAgent
) -> None:
    token = f"Bearer {receiver.tokens[till.store_id, till.till_id]}"
    first = await receiver.get(PROGRAM_PATH, Authorization=token)
    changed = await start_receiver(program={"currency": "USD"})

    second = await changed.get(
        PROGRAM_PATH, Authorization=token, If_None_Match=str(first.header("ETag"))
    )

    assert (second.status, second.members()["currency"]) == (200, "USD")


async def test_old_token_works_until_the_new_one_is_first_used(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    old = f"Bearer {receiver.tokens[till.store_id, till.till_id]}"
    new = f"Bearer {await receiver.enroll(till)}"

    statuses = [
        (await receiver.get(PROGRAM_PATH, Authorization=authorization)).status
        for authorization in (old, new, old, new)
    ]

    assert statuses == [200, 200, 401, 200]


async def test_every_response_has_a_date_header(receiver: Receiver) -> None:
    """Lets an agent detect that its clock is wrong."""
    response = await receiver.get("/healthz")

    assert parsedate_to_datetime(str(response.header("Date"))).utcoffset() == timedelta(0)


async def test_new_epoch_beyond_the_bound_is_a_403_with_its_own_code(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    older = [{"epoch": f"{number:03}", "lastSequence": 1} for number in range(200)]
    await receiver.heartbeat(till, epochs=older)
    further = replace(till, epoch="further")

    for response in (
        await receiver.send(further, session(1)),
        await receiver.heartbeat(further),
    ):
        assert_error(response, 403, "TOO_MANY_EPOCHS")
    assert (await receiver.send(till, session(1))).status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_default_address_is_both_loopback_addresses(receiver: Receiver, host: str) -> None:
    """No other local user can be `localhost` to an agent on head office's machine."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    (answer,) = await exchange(host, receiver.address.port, request, 1)

    assert answer.status == 200

"""The log of refused requests at head office: reason, sender, path; summed; nothing personal."""

import errno
import logging
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web
from multidict import CIMultiDict
from sqlalchemy.exc import OperationalError
from yarl import URL

from sync.protocol.wire import BATCHES_PATH, HEARTBEATS_PATH, ErrorCode
from sync.receiver.auth.peers import Peers
from sync.receiver.errors import to_http_error
from sync.receiver.request_log import RequestLog
from sync.runtime.network.http_errors import HttpError, bad_request
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.receiver import Receiver
from tests.support.log_fields import fields_of

EVENT = "request.refused"
ADDRESS = "guest@example.com"


@pytest.fixture
async def receiver(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> Receiver:
    """A receiver whose log is recorded; opening the database may have set the level."""
    caplog.set_level(logging.INFO)
    return receiver


async def refused_line(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    """Return the fields of the only line."""
    await receiver.server.close()
    (line,) = fields_of(caplog, EVENT)
    return line


async def test_refused_batch_is_logged_with_reason_store_till_and_peer(
    receiver: Receiver, till: SimulatedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    sent = await receiver.post(BATCHES_PATH, b"{", till)
    assert sent.status == 400, sent

    assert await refused_line(receiver, caplog) == {
        "times": 1,
        "code": "INVALID_REQUEST",
        "route": "/sync/v1/batches",
        "status": 400,
        "peer": "127.0.0.1",
        "store": "0042",
        "till": "till-1",
        "reason": "The body is not JSON",
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "shown"),
    [
        ("GET", "/v1/store?q=guest@example.com", 404, "/v1/store"),
        ("GET", "/v1/sesions/guest@example.com/x", 404, "/v1/sesions/[...]/x"),
        ("GET", "/v1/sesions/guest%40example.com", 404, "/v1/sesions/[...]"),
        ("GET", "/%1b%5b2J", 404, "/[...]"),
        ("GET", "/a" * 500, 404, "/a/a/a/a/a/a/a/[...]"),
        ("GET", "/sync/v1/batches", 405, "/sync/v1/batches"),
        ("DELETE", "/v1/stores", 405, "/v1/stores"),
        ("GET", "/v1/stores/9999", 404, "/v1/stores/9999"),
    ],
)
async def test_unknown_path_is_named_without_what_may_be_personal(
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    status: int,
    shown: str,
) -> None:
    token = {"Authorization": f"Bearer {receiver.readers_token}"}
    answer = await receiver.request(method, path, **token)

    line = await refused_line(receiver, caplog)
    assert answer.status == status
    assert (line["path"], line["method"], line["status"]) == (shown, method, status)
    assert "guest" not in caplog.text


async def test_unauthenticated_sender_has_no_store(
    receiver: Receiver, till: SimulatedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """Its name is a claim: `agent.token_refused` has that."""
    token = receiver.tokens["0042", "till-1"]
    await receiver.request(
        "POST", HEARTBEATS_PATH, till.heartbeat(), Authorization=f"Bearer {token}x"
    )

    line = await refused_line(receiver, caplog)
    assert (line["status"], line["peer"]) == (401, "127.0.0.1")
    assert "store" not in line


async def test_gap_of_a_till_is_logged_with_its_reason(
    receiver: Receiver, till: SimulatedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    await receiver.send(till, session(5))

    line = await refused_line(receiver, caplog)
    assert (line["code"], line["store"]) == ("SEQUENCE_GAP", "0042")
    assert "Earlier events are missing" in str(line["reason"])


@dataclass
class FakeRequest:
    """A request before routing."""

    remote: str
    method: str = "GET"
    rel_url: URL = field(default_factory=lambda: URL("/v1/stores"))
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)

    def get(self, _: object) -> None:
        """Return None: nothing is known of the sender."""


def a_request(peer: str = "192.0.2.7") -> web.BaseRequest:
    return cast("web.BaseRequest", FakeRequest(peer))


@pytest.fixture
def log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> RequestLog:
    caplog.set_level(logging.INFO)
    return RequestLog(Peers(), tmp_path / "hq.db")


async def test_flood_of_many_peers_is_a_bounded_number_of_lines_with_all_sums(
    log: RequestLog, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5_000):
        refusal = bad_request("a reason")
        log.note(a_request(peer=f"10.1.{number // 250}.{number % 250}"), refusal, refusal)
    log.close()

    lines = fields_of(caplog, EVENT)
    assert len(lines) < 80
    assert sum(int(str(line["times"])) for line in lines) == 5_000
    assert {"peer": "others", "store": "others", "till": "others"}.items() <= lines[-1].items()


async def test_value_that_a_message_quotes_is_not_logged(
    log: RequestLog, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = bad_request(f"The body is invalid: Invalid enum value '{ADDRESS} Jane Doe'\x1b[2J")
    log.note(a_request(), refusal, refusal)
    log.close()

    (line,) = fields_of(caplog, EVENT)
    assert str(line["reason"]).startswith("The body is invalid: Invalid enum value [...]")
    assert "\x1b" not in caplog.text
    assert "Jane" not in caplog.text


def full_disk() -> OperationalError:
    cause = sqlite3.OperationalError("database or disk is full")
    cause.sqlite_errorcode = sqlite3.SQLITE_FULL
    return OperationalError("INSERT", {"body": ADDRESS}, cause)


@pytest.mark.parametrize("error", [full_disk(), OSError(errno.ENOSPC, "No space left on device")])
async def test_full_disk_is_named_with_the_space_that_is_left(
    log: RequestLog, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    for _ in range(100):
        log.note(a_request(), to_http_error(error), error)
    log.close()

    first, second = fields_of(caplog, EVENT)
    assert (first["reason"], first["disk"], second["times"]) == (
        "the disk is full",
        str(tmp_path),
        99,
    )
    assert isinstance(first["free_bytes"], int)
    assert {record.levelname for record in caplog.records if record.message == EVENT} == {"ERROR"}
    assert ADDRESS not in caplog.text


async def test_internal_error_keeps_its_traceback(
    log: RequestLog, caplog: pytest.LogCaptureFixture
) -> None:
    error = KeyError("a fault of ours")
    log.note(a_request(), to_http_error(error), error)
    log.close()

    (record,) = [one for one in caplog.records if one.message == "request.failed"]
    assert record.exc_info is not None
    assert isinstance(to_http_error(error), HttpError)
    assert to_http_error(error).code is ErrorCode.INTERNAL_ERROR

"""Properties of every answer: headers, request id, and one error body."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.agent.api.conftest import StartAgent
from tests.support.agent.in_process import (
    SESSIONS,
    Agent,
    agent_under_test,
    email_path,
    settings_in,
)
from tests.support.clocks import AgentClock
from tests.support.raw_http import HttpResponse

HEADERS = {
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "sameorigin",
    "Referrer-Policy": "no-referrer",
    "X-XSS-Protection": "1;mode=block",
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HOST = b"Host: localhost\r\n"
POST = f"POST {SESSIONS} HTTP/1.1\r\nHost: localhost\r\n".encode()


def request_bytes(method: str, path: str, body: bytes = b"", extra: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + extra + b"\r\n" + body


# A request and the status of its answer.
EVERY_KIND: dict[str, tuple[bytes, int]] = {
    "session": (request_bytes("POST", SESSIONS, b'{"correlationId":"new"}'), 200),
    "repeat": (request_bytes("POST", SESSIONS, b'{"correlationId":"x"}'), 200),
    "email": (request_bytes("PUT", email_path("x"), b'{"status":"declined"}'), 200),
    "state": (request_bytes("GET", "/agent/v1/sessions/x"), 200),
    "status": (request_bytes("GET", "/agent/v1/status"), 200),
    "page": (request_bytes("GET", "/"), 200),
    "document": (request_bytes("GET", "/openapi.json"), 200),
    "alive": (request_bytes("GET", "/healthz"), 200),
    "ready": (request_bytes("GET", "/readyz"), 200),
    "metrics": (request_bytes("GET", "/metrics"), 200),
    "head": (request_bytes("HEAD", "/healthz"), 200),
    "http 1.0": (b"GET /healthz HTTP/1.0\r\n" + HOST + b"\r\n", 200),
    "rule broken": (request_bytes("POST", SESSIONS, b"{}"), 400),
    "foreign host": (b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", 403),
    "no host": (b"GET / HTTP/1.0\r\n\r\n", 403),
    "foreign origin": (request_bytes("GET", "/", b"", b"Origin: https://evil.test\r\n"), 403),
    "nothing there": (request_bytes("GET", "/nothing"), 404),
    "another name": (request_bytes("GET", "//localhost/healthz"), 404),
    "the whole server": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "no such session": (request_bytes("GET", "/agent/v1/sessions/unknown"), 404),
    "method": (request_bytes("DELETE", SESSIONS), 405),
    "too large": (POST + b"Content-Length: 99999999\r\n\r\n" + b" " * 20_000, 413),
    "encoding": (request_bytes("POST", SESSIONS, b"{}", b"Content-Encoding: br\r\n"), 415),
    "expectation": (request_bytes("POST", SESSIONS, b"{}", b"Expect: a-banana\r\n"), 417),
    "not http": (b"hello\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "unknown method": (b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "host missing": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + b"Host: evil.test\r\n\r\n", 400),
    "bytes in the path": (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "bytes in the query": (b"GET /?\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "broken url": (b"GET http://[::1/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "NUL in a header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: \x00\r\n\r\n", 400),
    "header without colon": (b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n\r\n", 400),
    "header over two lines": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400),
    "endless line": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "endless header": (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 400),
    "endless headers": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 200 + b"\r\n", 400),
    "length below zero": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
    "length and chunks": (
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "broken chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "broken second chunk": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n\r\n",
        400,
    ),
    "unknown transfer": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 400),
}
ERRORS = {name: kind for name, kind in EVERY_KIND.items() if kind[1] >= 400}
CODES = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    417: "INVALID_REQUEST",
    500: "INTERNAL_ERROR",
    503: "UNAVAILABLE",
    507: "STORAGE_FULL",
}


@pytest.fixture
async def agent(start_agent: StartAgent) -> Agent:
    agent = await start_agent()
    await agent.start_session({"correlationId": "x"})
    return agent


@pytest.fixture
async def shared_agent(shared_agent: Agent) -> Agent:
    await shared_agent.start_session({"correlationId": "x"})
    return shared_agent


def assert_three_fields(answer: HttpResponse) -> None:
    members = answer.members()
    assert list(members) == ["statusCode", "errorMessage", "errorCode"]
    assert members["statusCode"] == answer.status
    assert members["errorCode"] == CODES[answer.status]
    assert str(members["errorMessage"]).strip()
    compact = json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
    assert answer.body == compact
    assert answer.header("Content-Type") == "application/json; charset=utf-8"


@pytest.mark.parametrize(("request_", "status"), EVERY_KIND.values(), ids=EVERY_KIND)
async def test_every_answer_has_the_reference_headers_and_a_request_id(
    shared_agent: Agent, request_: bytes, status: int
) -> None:
    [answer] = await shared_agent.send_raw(request_)

    assert answer.status == status
    assert {name: answer.header(name) for name in HEADERS} == HEADERS
    assert UUID.fullmatch(answer.header("x-amzn-RequestId") or "")
    assert answer.header("Date")


@pytest.mark.parametrize(("request_", "status"), EVERY_KIND.values(), ids=EVERY_KIND)
async def test_no_answer_has_cors_headers_by_default(
    shared_agent: Agent, request_: bytes, status: int
) -> None:
    [answer] = await shared_agent.send_raw(request_)

    names = {name.lower() for name, _ in answer.headers}
    assert not {name for name in names if name.startswith("access-control-")}


@pytest.mark.parametrize(("request_", "status"), ERRORS.values(), ids=ERRORS)
async def test_every_error_has_the_three_member_body(
    shared_agent: Agent, request_: bytes, status: int
) -> None:
    [answer] = await shared_agent.send_raw(request_)

    assert_three_fields(answer)


@pytest.mark.parametrize(("request_", "status"), ERRORS.values(), ids=ERRORS)
async def test_error_log_contains_the_request_id_of_the_answer(
    agent: Agent, caplog: pytest.LogCaptureFixture, request_: bytes, status: int
) -> None:
    caplog.set_level(logging.INFO)

    [answer] = await agent.send_raw(request_)

    name = "sync.runtime.network.http_errors"
    [fields] = [fields_of(line) for line in caplog.records if line.name == name]
    assert fields["request_id"] == answer.header("x-amzn-RequestId")
    assert (fields["status"], fields["code"]) == (status, CODES[status])


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    assert isinstance(fields, Mapping)
    return dict(fields)


async def test_request_id_is_unique(shared_agent: Agent) -> None:
    answers = [await shared_agent.get("/healthz") for _ in range(50)]

    assert len({answer.header("x-amzn-RequestId") for answer in answers}) == 50


async def test_only_recorded_captures_have_a_receipt(agent: Agent) -> None:
    receipts = {
        name: (await agent.send_raw(kind[0]))[0].receipt for name, kind in EVERY_KIND.items()
    }

    assert {name for name, receipt in receipts.items() if receipt} == {"session", "repeat", "email"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", SESSIONS, {"POST"}),
        ("HEAD", SESSIONS, {"POST"}),
        ("OPTIONS", SESSIONS, {"POST"}),
        ("PUT", SESSIONS, {"POST"}),
        ("POST", email_path("x"), {"PUT"}),
        ("PATCH", email_path("x"), {"PUT"}),
        ("PUT", "/agent/v1/sessions/x", {"GET", "HEAD"}),
        ("POST", "/", {"GET", "HEAD"}),
        ("DELETE", "/healthz", {"GET", "HEAD"}),
    ],
)
async def test_405_lists_the_allowed_methods(
    shared_agent: Agent, method: str, path: str, allowed: set[str]
) -> None:
    answer = await shared_agent.request(method, path)

    assert answer.status == 405
    assert set((answer.header("Allow") or "").replace(" ", "").split(",")) == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/client/users/anonymous/sessions/",
        "/client/users/anonymous",
        "/Client/users/anonymous/sessions",
        "/client/users/a/b/profile/email",
        "/client/users/x/profile/email/",
        "/client/users/x/profile/phone",
        "/agent/v1/sessions",
        "/agent/v1/sessions/x/y",
        "/agent/v2/status",
        "/healthz/",
        "/..",
        "/%2Fhealthz",
    ],
)
async def test_unknown_path_is_404(shared_agent: Agent, path: str) -> None:
    answer = await shared_agent.get(path)

    assert answer.status == 404
    assert_three_fields(answer)


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/", 200), ("/nothing", 404), (SESSIONS, 405)]
)
async def test_head_is_get_without_body(shared_agent: Agent, path: str, status: int) -> None:
    full = await shared_agent.get(path)
    [head] = await shared_agent.send_raw(request_bytes("HEAD", path))

    assert (head.status, head.body, full.status) == (status, b"", status)
    assert head.header("Content-Type") == full.header("Content-Type")
    assert int(head.header("Content-Length") or 0) > 0


async def test_pipelined_requests_are_answered_in_order(agent: Agent) -> None:
    pipeline = (
        request_bytes("POST", SESSIONS, b'{"correlationId":"1"}')
        + request_bytes("PUT", email_path("1"), b'{"status":"declined"}')
        + request_bytes("PUT", email_path("2"), b'{"status":"declined"}')
        + request_bytes("GET", "/nothing")
        + request_bytes("POST", SESSIONS, b'{"correlationId":"2"}')
    )

    answers = await agent.send_raw(pipeline, answers=5)

    assert [answer.status for answer in answers] == [200, 200, 400, 404, 200]
    assert [answer.receipt is not None for answer in answers] == [True, True, False, False, True]


async def test_connection_stays_open_after_an_error(shared_agent: Agent) -> None:
    requests = request_bytes("POST", SESSIONS, b"[]") * 3 + request_bytes("GET", "/healthz")

    answers = await shared_agent.send_raw(requests, answers=4)

    assert [answer.status for answer in answers] == [400, 400, 400, 200]


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.2"])
async def test_h2c_upgrade_offer_is_answered_in_http_1_1(agent: Agent, upgrade: str) -> None:
    """Java's HTTP client offers h2c with the first request of a connection."""
    offer = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAE\r\n"

    [answer] = await agent.send_raw(
        request_bytes("POST", SESSIONS, b'{"correlationId":"java"}', offer.encode())
    )

    assert answer.status == 200


async def test_expect_100_continue_is_answered(agent: Agent) -> None:
    expecting = request_bytes(
        "POST", SESSIONS, b'{"correlationId":"curl"}', b"Expect: 100-continue\r\n"
    )

    answers = await agent.send_raw(expecting, answers=2)

    assert [answer.status for answer in answers] == [100, 200]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda clock: setattr(clock, "broken", True),
        lambda clock: setattr(clock, "wall_us", 2**70),
    ],
    ids=["in the handler", "in the writer"],
)
async def test_internal_error_is_500_and_logged(
    agent: Agent,
    clock: AgentClock,
    caplog: pytest.LogCaptureFixture,
    break_it: Callable[[AgentClock], None],
) -> None:
    break_it(clock)
    faulty = await agent.start_session({"correlationId": "new"})
    clock.broken, clock.wall_us = False, 0
    after = await agent.start_session({"correlationId": "new"})

    assert (faulty.status, after.status) == (500, 200)
    assert_three_fields(faulty)
    [line] = [line for line in caplog.records if line.levelno >= logging.ERROR]
    assert line.exc_info
    assert fields_of(line)["request_id"] == faulty.header("x-amzn-RequestId")


async def test_flood_of_refused_requests_does_not_flood_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Any page in the machine's browser can send them. A till's few errors have a line each."""
    caplog.set_level(logging.INFO)
    async with agent_under_test(settings_in(tmp_path)) as agent:
        for _ in range(150):
            await agent.start_session(b"[]")

    lines = [line.msg for line in caplog.records if str(line.msg).startswith("request.refused")]
    [*_, last] = [line for line in caplog.records if line.msg == "request.refused_more"]
    assert lines.count("request.refused") == 60
    assert lines.count("request.refused_more") == 2
    assert fields_of(last)["times"] == 89

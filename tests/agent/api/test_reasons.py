"""`Loyalty-Reason`: every error of the till API says its cause in words, and so does the log."""

import gzip
import logging
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest

from agent.api import request_body
from agent.api.reasons import MAX_CHARACTERS, header_value
from sync.runtime.masking import mask_path
from tests.agent.api.conftest import StartAgent
from tests.agent.api.status.test_status import down_storage, full_storage
from tests.agent.api.test_privacy import found_in, use_the_address_everywhere
from tests.agent.api.test_server import ERRORS
from tests.support.agent.in_process import SESSIONS, Agent, email_path
from tests.support.clocks import AgentClock
from tests.support.log_fields import fields_of
from tests.support.processes import ROOT
from tests.support.raw_http import HttpResponse

PAGE = (ROOT / "docs" / "till-api.md").read_text("utf-8")

NO_SESSION = (
    "no session with this correlation id is known here: start it, or start it again with the "
    "same content, then answer it"
)
SET_EMAIL = "/client/users/{correlation_id}/profile/email"
# A request to an agent with the open session `x` and the closed session `closed`.
Request = tuple[str, str, bytes]


def session(body: bytes) -> Request:
    return ("POST", SESSIONS, body)


def email(body: bytes, correlation_id: str = "x") -> Request:
    return ("PUT", email_path(correlation_id), body)


REASONS: dict[str, tuple[Request, str]] = {
    "no body": (session(b""), "the body is empty"),
    "latin-1": (session('{"channel":"é"}'.encode("latin-1")), "the body is not UTF-8"),
    "utf-16": (session("{}".encode("utf-16")), "the body is UTF-16, not UTF-8"),
    "utf-16 without a mark": (session("{}".encode("utf-16-le")), "the body is UTF-16, not UTF-8"),
    "utf-16 of the other order": (
        session("{}".encode("utf-16-be")),
        "the body is UTF-16, not UTF-8",
    ),
    "form": (
        session(b"correlationId=1"),
        "the body is not JSON: invalid character at byte 1 of 15",
    ),
    "truncated": (session(b'{"correlationId":"x"'), "the body is not complete JSON"),
    "trailing text": (
        session(b'{"a":1};'),
        "the body is not JSON: trailing characters at byte 8 of 8",
    ),
    "number out of range": (session(b'{"a":1e999}'), "the body has a number out of range"),
    "array": (session(b"[]"), "the body is an array, not an object"),
    "text": (session(b'"x"'), "the body is a string, not an object"),
    "deep": (
        session(b'{"a":' + b"[" * 600 + b"]" * 600 + b"}"),
        "the body is nested deeper than 500 levels",
    ),
    "no id": (session(b"{}"), "correlationId is missing"),
    "id in other letters": (
        session(b'{"correlationID":"x","channel":"STORE"}'),
        "correlationId is missing: correlationID is given, and names are compared exactly",
    ),
    "id in snake case": (
        session(b'{"correlation_id":"x"}'),
        "correlationId is missing: correlation_id is given, and names are compared exactly",
    ),
    "id with a slip": (
        session(b'{"corelationId":"x"}'),
        "correlationId is missing: corelationId is given, and names are compared exactly",
    ),
    "an address as a name": (
        session(b'{"correlationId@example.com":"x"}'),
        "correlationId is missing",
    ),
    "another member": (session(b'{"externalIdentifier":"x"}'), "correlationId is missing"),
    "address in other letters": (
        email(b'{"status":"accepted","emailaddress":"a@example.com"}'),
        "emailAddress is missing: emailaddress is given, and names are compared exactly",
    ),
    "address cut": (
        email(b'{"status":"accepted","email":"a@example.com"}'),
        "emailAddress is missing: email is given, and names are compared exactly",
    ),
    "status in other letters": (
        email(b'{"Status":"accepted"}'),
        "status is missing: Status is given, and names are compared exactly",
    ),
    "null id": (session(b'{"correlationId":null}'), "correlationId is null, not a string"),
    "number as id": (session(b'{"correlationId":7}'), "correlationId is a number, not a string"),
    "empty id": (session(b'{"correlationId":""}'), "correlationId is empty"),
    "blank id": (session(b'{"correlationId":" "}'), "correlationId is blank"),
    "dots": (session(b'{"correlationId":".."}'), "correlationId is . or .."),
    "line feed": (
        session(b'{"correlationId":"a\\nb"}'),
        "correlationId has the control character U+000A",
    ),
    "long id": (
        session(b'{"correlationId":"' + b"a" * 129 + b'"}'),
        "correlationId has 129 characters, at most 128 are allowed",
    ),
    "list as channel": (
        session(b'{"correlationId":"y","channel":[]}'),
        "channel is an array, not a string",
    ),
    "NUL": (
        session(b'{"correlationId":"y","userStatus":"\\u0000"}'),
        "userStatus has a NUL character",
    ),
    "no status": (email(b"{}"), "status is missing: use accepted, declined or deferred"),
    "null status": (
        email(b'{"status":null}'),
        "status is null: use accepted, declined or deferred",
    ),
    "upper case": (
        email(b'{"status":"ACCEPTED"}'),
        "status is compared exactly: use accepted, declined or deferred",
    ),
    "another status": (
        email(b'{"status":"yes"}'),
        "status is another text: use accepted, declined or deferred",
    ),
    "no address": (email(b'{"status":"accepted"}'), "emailAddress is missing"),
    "blank address": (
        email(b'{"status":"accepted","emailAddress":" "}'),
        "emailAddress is blank",
    ),
    "address too many": (
        email(b'{"status":"declined","emailAddress":"a@example.com"}'),
        "emailAddress is given, and status is declined",
    ),
    "number as address": (
        email(b'{"status":"accepted","emailAddress":7}'),
        "emailAddress is a number, not a string",
    ),
    "NUL in address": (
        email(b'{"status":"accepted","emailAddress":"a\\u0000@example.com"}'),
        "emailAddress has a NUL character",
    ),
    "long address": (
        email(b'{"status":"accepted","emailAddress":"' + b"a" * 400 + b'@example.com"}'),
        "emailAddress has 412 characters, at most 320 are allowed",
    ),
    "no at": (
        email(b'{"status":"accepted","emailAddress":"guest.example.com"}'),
        "emailAddress has no @",
    ),
    "no dot": (
        email(b'{"status":"accepted","emailAddress":"guest@example"}'),
        "emailAddress has no dot in its domain",
    ),
    "two dots": (
        email(b'{"status":"accepted","emailAddress":"a..b@example.com"}'),
        "emailAddress breaks a rule of address syntax before the @",
    ),
    "broken domain": (
        email(b'{"status":"accepted","emailAddress":"a@-example.com"}'),
        "emailAddress breaks a rule of address syntax after the @",
    ),
    "unknown session": (email(b'{"status":"declined"}', "unknown"), NO_SESSION),
    "closed session": (
        email(b'{"status":"declined"}', "closed"),
        "the session was started with userStatus CLOSED: it takes no e-mail answer",
    ),
    "id of control characters": (
        email(b'{"status":"declined"}', "\n"),
        "the correlation id in the path has the control character U+000A",
    ),
    "id not UTF-8": (
        ("PUT", "/client/users/%FF/profile/email", b'{"status":"declined"}'),
        "the correlation id in the path is not percent-encoded UTF-8",
    ),
    "no endpoint": (
        ("GET", "/client/user/anonymous", b""),
        "no endpoint /client/user/anonymous",
    ),
    "slash at the end": (
        ("POST", SESSIONS + "/", b"{}"),
        f"no endpoint {SESSIONS}/: did you mean {SESSIONS}",
    ),
    "no such file of the page": (("GET", "/docs/none.js", b""), "no endpoint /docs/none.js"),
    "slash at the end of set e-mail": (
        ("PUT", email_path("x") + "/", b"{}"),
        f"no endpoint {email_path('x')}/: did you mean {SET_EMAIL}",
    ),
    "wrong letter in set e-mail": (
        ("PUT", "/client/user/7f2c1b1e-0001/profile/email", b"{}"),
        f"no endpoint /client/user/7f2c1b1e-0001/profile/email: did you mean {SET_EMAIL}",
    ),
    "address in the path": (
        ("GET", "/client/users/guest@example.com/profile", b""),
        f"no endpoint /client/users/[...]/profile: did you mean {SET_EMAIL}",
    ),
    "session not there": (
        ("GET", "/agent/v1/sessions/unknown", b""),
        "no session with this correlation id is known here: it never started, or was purged",
    ),
    "method": (("DELETE", SESSIONS, b""), f"DELETE is not supported at {SESSIONS}: use POST"),
    "large body": (
        session(b" " * 20_000),
        "the body has 20000 bytes by its Content-Length, at most 16384 are allowed",
    ),
    "dead letter number": (
        ("GET", "/agent/v1/dead-letters/x/1", b""),
        "Dead letters are addressed as EPOCH/SEQUENCE.",
    ),
}


def test_examples_of_the_till_api_page_are_reasons_of_the_agent() -> None:
    """Those with a time or an amount are tested below by themselves."""
    block = PAGE.partition("<!-- reasons -->\n```\n")[2].partition("```")[0]
    examples = [line for line in block.splitlines() if not re.search(r"was used at|MiB free", line)]

    assert set(examples) <= {reason for _, reason in REASONS.values()} | set(PARSER.values())
    assert len(examples) >= 6


@pytest.fixture
async def agent(start_agent: StartAgent) -> Agent:
    return await with_sessions(await start_agent())


@pytest.fixture
async def shared_agent(shared_agent: Agent) -> Agent:
    return await with_sessions(shared_agent)


async def with_sessions(agent: Agent) -> Agent:
    await agent.start_session({"correlationId": "x"})
    await agent.start_session({"correlationId": "closed", "userStatus": "CLOSED"})
    return agent


def reason_of(answer: HttpResponse) -> str:
    """Return the header of an error, which must be one bounded line of printable ASCII."""
    assert answer.status >= 400
    reason = answer.header("Loyalty-Reason")
    assert reason, f"an answer of {answer.status} without a reason"
    assert re.fullmatch(rf"[ -~]{{1,{MAX_CHARACTERS}}}", reason)
    return reason


@pytest.mark.parametrize(("request_", "reason"), REASONS.values(), ids=REASONS)
async def test_refusal_says_its_cause_and_keeps_its_body(
    shared_agent: Agent, request_: Request, reason: str
) -> None:
    answer = await shared_agent.request(*request_)

    assert reason_of(answer) == reason
    assert list(answer.members()) == ["statusCode", "errorMessage", "errorCode"]


@pytest.mark.parametrize(("request_", "status"), ERRORS.values(), ids=ERRORS)
async def test_every_error_has_a_reason_also_of_the_http_parser(
    shared_agent: Agent, request_: bytes, status: int
) -> None:
    [answer] = await shared_agent.send_raw(request_)

    assert reason_of(answer)


BAD_METHOD = (
    "not valid HTTP: Invalid method encountered; so looks the rest of a body that is longer than "
    "its Content-Length (in bytes), or has none"
)
PARSER = {
    "tls": "this is TLS, and this port speaks plain HTTP: use http://",
    "http 2": "this is HTTP/2: use HTTP/1.1",
    "endless line": "a line of the request head is longer than 8190 bytes",
    "endless header": "a line of the request head is longer than 65536 bytes",
    "endless headers": "not valid HTTP: Too many headers received",
    "host missing": "not valid HTTP: Missing 'Host' header in request.",
    "unknown method": BAD_METHOD,
    "bytes in the path": "not valid HTTP: Invalid char in url path",
    "broken url": "not valid HTTP: the URL",
    "length below zero": "not valid HTTP: Invalid character in Content-Length",
    "broken chunk": "not valid HTTP: Invalid character in chunk size",
    "expectation": "The only supported expectation is 100-continue.",
    "encoding": "Content-Encoding br is not supported: use gzip, deflate or identity",
    "too large": "the body has 99999999 bytes by its Content-Length, at most 16384 are allowed",
    "foreign host": "Host evil.test is not allowed: use localhost, or add it to "
    "[api] allowed_hosts",
    "foreign origin": "Origin https://evil.test is not in [api] cors_origins",
}


@pytest.mark.parametrize(("name", "reason"), PARSER.items(), ids=PARSER)
async def test_reason_before_any_handler_is_as_exact(
    shared_agent: Agent, name: str, reason: str
) -> None:
    [answer] = await shared_agent.send_raw(ERRORS[name][0])

    assert reason_of(answer) == reason


async def test_sender_of_a_head_of_many_megabytes_reads_the_answer(shared_agent: Agent) -> None:
    """It was still sending when the connection was closed, and saw a reset."""
    fields = (b"Cookie: " + b"x" * 60_000 + b"\r\n") * 150

    [answer] = await shared_agent.send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + fields)

    assert reason_of(answer) == "the request head is larger than 64 KiB"


async def test_body_longer_than_its_content_length_is_told_that_bytes_count(
    shared_agent: Agent,
) -> None:
    body = '{"correlationId":"z","clerk":"Zoé"}'
    head = f"POST {SESSIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"

    [answer] = await shared_agent.send_raw((head + body).encode())

    assert reason_of(answer) == BAD_METHOD


async def test_request_of_http_1_0_without_a_host_is_told_to_send_one(shared_agent: Agent) -> None:
    [answer] = await shared_agent.send_raw(b"GET /agent/v1/status HTTP/1.0\r\n\r\n")

    assert reason_of(answer) == "the Host header is missing: send one, such as Host: 127.0.0.1"


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"{}", "gzip", "the body is not valid gzip"),
        (gzip.compress(b'{"correlationId":"z"}')[:-3], "gzip", "the body is an incomplete gzip"),
        (gzip.compress(b"{}") + b"x", "gzip", "the body has data after the end of its gzip"),
        (
            gzip.compress(b" " * 20_000),
            "gzip",
            "the body has more than 16384 bytes when decompressed",
        ),
    ],
    ids=["broken", "incomplete", "more behind it", "large"],
)
async def test_reason_of_a_compressed_body(
    shared_agent: Agent, body: bytes, encoding: str, reason: str
) -> None:
    headers = {"Content-Encoding": encoding}

    answer = await shared_agent.request("POST", SESSIONS, body, headers)

    assert reason_of(answer) == reason


@pytest.mark.parametrize(
    ("second", "query", "difference"),
    [
        ({"channel": "WEB"}, "", "another channel"),
        ({"channel": "STORE", "locale": "fr-CA"}, "", "another locale"),
        ({}, "", "another channel"),
        ({"channel": "STORE"}, "?locale=fr-CA", "another locale in the query string"),
        (
            {"channel": "WEB", "userStatus": "CLOSED", "a": 1, "guest@example.com": 1},
            "",
            "another channel, userStatus, a and 1 more",
        ),
    ],
)
async def test_used_id_says_when_and_in_which_members_it_differs(
    agent: Agent, clock: AgentClock, second: Mapping[str, object], query: str, difference: str
) -> None:
    used_at = datetime.fromtimestamp(clock.wall_us / 1e6)  # noqa: DTZ006 - the till's own time
    await agent.start_session({"correlationId": "y", "channel": "STORE"})
    clock.wall_us += 60_000_000

    answer = await agent.start_session({"correlationId": "y"} | dict(second), query)

    reason = f"this correlation id was used at {used_at:%H:%M} with {difference}"
    assert reason_of(answer) == reason
    assert answer.members()["errorMessage"] == "Invalid Correlation ID"


async def test_id_used_on_another_day_says_the_day(agent: Agent, clock: AgentClock) -> None:
    used_at = datetime.fromtimestamp(clock.wall_us / 1e6)  # noqa: DTZ006 - the till's own time
    await agent.start_session({"correlationId": "y", "channel": "STORE"})
    clock.wall_us += 3 * 86_400_000_000

    answer = await agent.start_session({"correlationId": "y"})

    assert f"was used at {used_at:%Y-%m-%d %H:%M} with" in reason_of(answer)


async def test_token_errors_say_what_is_wrong_with_it(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("a-token-of-the-tills-0123456789")
    agent = await start_agent(api={"token_file": token_file})

    reasons = [
        reason_of(await agent.get("/agent/v1/status", headers))
        for headers in (
            {},
            {"Authorization": "Basic dGlsbDp0aWxs"},
            {"Authorization": "Bearer a-guess"},
        )
    ]

    assert reasons == [
        "there is no Authorization header: send the token as Bearer",
        "Authorization is not of the scheme Bearer",
        "the token is wrong",
    ]


async def test_body_in_chunks_is_too_large_without_a_length(shared_agent: Agent) -> None:
    chunk = b"5000\r\n" + b" " * 0x5000 + b"\r\n0\r\n\r\n"
    head = f"POST {SESSIONS} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

    [answer] = await shared_agent.send_raw(head.encode() + chunk)

    assert reason_of(answer) == "the body has more than 16384 bytes"


async def test_page_of_an_allowed_origin_can_read_the_reason(start_agent: StartAgent) -> None:
    agent = await start_agent(api={"cors_origins": ("https://pos.example",)})

    answer = await agent.request("GET", "/nothing", headers={"Origin": "https://pos.example"})

    exposed = (answer.header("Access-Control-Expose-Headers") or "").split(", ")
    assert "Loyalty-Reason" in exposed
    assert reason_of(answer) == "no endpoint /nothing"


async def test_full_disk_says_how_much_is_free_and_needed(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = await start_agent(storage=full_storage(tmp_path / "state"))

    answer = await agent.start_session({"correlationId": "y"})

    assert answer.status == 507
    assert re.search(r"[\d,.]+ MiB free on .*, [\d,.]+ MiB must stay free", reason_of(answer))


async def test_reason_contains_no_address_whatever_a_till_sends(
    agent: Agent, clock: AgentClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[HttpResponse] = []
    request, send_raw = agent.request, agent.send_raw

    async def noted(*arguments: object, **named: object) -> HttpResponse:
        answers.append(await request(*arguments, **named))  # type: ignore[arg-type]
        return answers[-1]

    async def noted_raw(raw: bytes) -> list[HttpResponse]:
        answers.extend(await send_raw(raw))
        return answers

    monkeypatch.setattr(agent, "request", noted)
    monkeypatch.setattr(agent, "send_raw", noted_raw)

    await use_the_address_everywhere(agent, clock)

    refused = [answer for answer in answers if answer.status >= 400]
    assert len(refused) > 10
    assert [found_in(reason_of(answer)) for answer in refused] == [[]] * len(refused)


async def test_log_says_the_same_words_as_the_header(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    answer = await agent.request("GET", "/client/user/anonymous")

    (line,) = fields_of(caplog, "request.refused")
    assert line["reason"] == reason_of(answer)


async def test_flood_of_one_error_is_summed_with_its_reason(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(100):
        await agent.start_session(b"[]")
    await agent.get("/nothing")

    sums = fields_of(caplog, "request.refused_more")

    assert [(line["code"], line["reason"]) for line in sums] == [
        ("INVALID_REQUEST", "the body is an array, not an object"),
        ("NOT_FOUND", "no endpoint /nothing"),
    ]


async def test_broken_storage_says_why_it_cannot_be_used(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = await start_agent(storage=down_storage(tmp_path / "state"))

    answers = [await agent.start_session({"correlationId": "y"}), await agent.get("/readyz")]

    assert [answer.status for answer in answers] == [503, 503]
    assert all("wrong.key" in reason_of(answer) for answer in answers)


@pytest.mark.parametrize("number", ["92a892ab-6caa-45a7-8774-65fbfb39d516/1", "x/1"])
async def test_dead_letter_that_is_not_there_is_no_missing_endpoint(
    agent: Agent, number: str
) -> None:
    answer = await agent.get(f"/agent/v1/dead-letters/{number}")

    assert "no endpoint" not in reason_of(answer)
    assert "dead letter" in reason_of(answer).lower()


async def test_body_that_does_not_arrive_says_how_long_it_was_waited_for(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "BODY_TIMEOUT_SECONDS", 0.0)
    head = f"POST {SESSIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"

    [answer] = await agent.send_raw(head.encode())

    assert answer.status == 408
    assert reason_of(answer) == "the body did not arrive completely within 0 s"


async def test_internal_error_has_a_reason_that_quotes_nothing(
    agent: Agent, clock: AgentClock
) -> None:
    clock.broken = True

    answer = await agent.start_session({"correlationId": "y"})

    assert (answer.status, reason_of(answer)) == (
        500,
        "Internal error. The request was not processed.",
    )


async def test_delivery_without_central_says_which_setting_is_missing(agent: Agent) -> None:
    answer = await agent.request("POST", "/agent/v1/sync")

    assert answer.status == 409
    assert "central.url is not set" in reason_of(answer)


async def test_admin_call_says_which_token_it_needs(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    token_file = tmp_path / "admin"
    token_file.write_text("a-token-of-administrators-0123")
    agent = await start_agent(api={"admin_token_file": token_file})

    answer = await agent.request("POST", "/agent/v1/dead-letters/x/1/retry")

    assert answer.status == 401
    assert reason_of(answer) == "there is no Authorization header: send the token as Bearer"


def test_reason_is_one_bounded_line_whatever_it_is_made_of() -> None:
    private = "Authorization: Bearer abcdefghijk guest@example.com"

    assert header_value("é\r\nX-Injected: 1\x00\u2028") == r"\xe9\r\nX-Injected: 1\x00\u2028"
    assert header_value(private) == "Authorization: Bearer [token] [address]"
    assert len(header_value("a" * 9_000)) == MAX_CHARACTERS


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/client/users/92a892ab-6caa-45a7-8774-65fbfb39d516/profile", None),
        ("/a/guest%40example.com/b", "/a/[...]/b"),
        ("/a/guest%2540example.com/b", "/a/[...]/b"),
        ("/a/c2VjcmV0LXRva2VuLTAxMjM0NTY3ODk", "/a/[...]"),
        ("/a?email=guest@example.com", "/a"),
        ("/" + "a/" * 50, "/a/a/a/a/a/a/a/[...]"),
    ],
)
def test_shown_path_has_no_segment_that_may_be_personal(path: str, shown: str | None) -> None:
    assert mask_path(path) == (shown or path)

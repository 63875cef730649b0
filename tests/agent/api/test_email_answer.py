"""*Set e-mail*, as documented in `docs/till-api.md`."""

import json
from collections.abc import Mapping

import pytest

from agent.config.settings import EmailSettings
from agent.store.crypto.vault import open_vault
from tests.agent.api.conftest import StartAgent
from tests.agent.api.test_session_start import IMPOSSIBLE_IDS
from tests.support.agent.in_process import Agent

UPDATED = b'{"message":"Email option updated."}'
NO_OPEN_SESSION = "The document path provided in the update expression is invalid for update"
NOT_AN_OBJECT = "Request body must be a JSON object"
NOT_VALID = "Email address is not valid"
ADDRESS = "guest@example.com"


@pytest.fixture
async def agent(start_agent: StartAgent) -> Agent:
    """An agent with an open session `x`."""
    agent = await start_agent()
    await agent.start_session({"correlationId": "x"})
    return agent


@pytest.fixture
async def shared_agent(shared_agent: Agent) -> Agent:
    """The module's agent, with an open session `x` that gets no answer."""
    await shared_agent.start_session({"correlationId": "x"})
    return shared_agent


def refusal(message: str) -> bytes:
    error = {"statusCode": 400, "errorMessage": message, "errorCode": "INVALID_REQUEST"}
    return json.dumps(error, separators=(",", ":"), ensure_ascii=False).encode()


def kept_addresses(agent: Agent) -> list[str | None]:
    vault = open_vault(agent.directory / "encryption.key")
    rows = agent.rows(
        "SELECT address, correlation_id FROM email_answer JOIN session"
        " ON session.position = session_position ORDER BY email_answer.position"
    )
    return [
        None if sealed is None else vault.decrypt(bytes(sealed), str(correlation_id))  # type: ignore[call-overload] # a blob's bytes
        for sealed, correlation_id in rows
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"emailAddress": ADDRESS, "status": "accepted"},
        {"status": "declined"},
        {"status": "deferred"},
        {"status": "declined", "emailAddress": None},
        {"status": "deferred", "emailAddress": ""},
        {"status": "declined", "emailAddress": " \t\u00a0\n"},
    ],
)
async def test_accepted_answer_returns_the_35_bytes_of_the_reference(
    agent: Agent, body: Mapping[str, object]
) -> None:
    answer = await agent.set_email("x", body)

    assert (answer.status, answer.body, len(answer.body)) == (200, UPDATED, 35)
    assert answer.header("Content-Type") == "application/json; charset=utf-8"
    assert agent.rows("SELECT status FROM email_answer") == [(body["status"],)]


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ('"ACCEPTED"', "ACCEPTED"),
        ('"Accepted"', "Accepted"),
        ('" accepted"', " accepted"),
        ('"accepted "', "accepted "),
        ('"opted-out"', "opted-out"),
        ('""', ""),
        ('"{status}"', "{status}"),
        ('"é\\u0000\\""', 'é\0"'),
        ("null", "null"),
        ("7", "7"),
        ("true", "true"),
        ("1.5", "1.5"),
        ('{"a":[1,null]}', '{"a":[1,null]}'),
        ("[]", "[]"),
    ],
)
async def test_unsupported_status_is_named_in_the_message(
    shared_agent: Agent, status: str, shown: str
) -> None:
    body = f'{{"status":{status},"emailAddress":"{ADDRESS}"}}'.encode()

    answer = await shared_agent.set_email("x", body)

    assert answer.status == 400
    assert answer.members() == {
        "statusCode": 400,
        "errorMessage": f"Email capture option {shown} is not supported!",
        "errorCode": "INVALID_REQUEST",
    }


async def test_missing_status_is_reported_as_null(shared_agent: Agent) -> None:
    answer = await shared_agent.set_email("x", {"emailAddress": ADDRESS})

    assert answer.body == refusal("Email capture option null is not supported!")


@pytest.mark.parametrize("address", [None, "", " ", "\t\u2003\n"])
async def test_accepted_needs_an_address(shared_agent: Agent, address: str | None) -> None:
    given = await shared_agent.set_email("x", {"status": "accepted", "emailAddress": address})
    missing = await shared_agent.set_email("x", {"status": "accepted"})

    assert given.body == missing.body == refusal("Email address is required")


@pytest.mark.parametrize("status", ["declined", "deferred"])
@pytest.mark.parametrize("address", [ADDRESS, "no address", "\u0000", 0, False, [], {}])
async def test_address_is_refused_when_declined_or_deferred(
    shared_agent: Agent, status: str, address: object
) -> None:
    answer = await shared_agent.set_email("x", {"status": status, "emailAddress": address})

    assert answer.body == refusal(f"Email address not expected when status is {status}")


@pytest.mark.parametrize(
    "address",
    [
        "guest@example.com",
        "Guest.Of-Honour+till_7@Mail.Example.COM",
        "o'hara@example.org",
        "!#$%&'*/=?^`{|}~@example.org",
        "a@b.example",
        "josé@example.com",
        "用户@example.org",
        "guest@bücher.example",
        "guest@xn--bcher-kva.example",
        "guest@shop.test",
        "o'hara@shop.test",
        "guest@till.local",
        "guest@mail.localhost",
        "guest@nowhere.invalid",
        "x" * 64 + "@example.com",
        "guest@" + "a" * 63 + ".example",
    ],
)
async def test_valid_address_is_stored_as_written(agent: Agent, address: str) -> None:
    answer = await agent.set_email("x", {"status": "accepted", "emailAddress": address})

    assert answer.status == 200
    assert kept_addresses(agent) == [address]


@pytest.mark.parametrize(
    "address",
    [
        "guest",
        "guest@",
        "@example.com",
        "guest@localhost",
        "guest@example",
        "guest@[127.0.0.1]",
        "guest@[IPv6:::1]",
        '"guest"@example.com',
        '"gu est"@example.com',
        "gu est@example.com",
        "guest@exa mple.com",
        "guest@@example.com",
        "guest@example..com",
        "guest@.example.com",
        "guest@example.com.",
        "guest@-example.com",
        "guest@example-.com",
        "guest@exa_mple.com",
        ".guest@example.com",
        "guest.@example.com",
        "gu..est@example.com",
        "Guest <guest@example.com>",
        "guest@example.com, other@example.com",
        "mailto:guest@example.com",
        "guest@example.com\u0000",
        "gu\nest@example.com",
        "guest\u202e@example.com",
        "guest@example.123",
        "x" * 300 + "@example.com",
        "guest@" + "a" * 64 + ".example",
        "guest@" + "a.b" * 100 + ".example",
        "guest@example.com" * 500,
        "@" * 10_000,
        "." * 10_000,
        7,
        True,
        False,
        0,
        ["guest@example.com"],
        {"address": "guest@example.com"},
    ],
)
async def test_invalid_address_is_refused(shared_agent: Agent, address: object) -> None:
    answer = await shared_agent.set_email("x", {"status": "accepted", "emailAddress": address})

    assert (answer.status, answer.body) == (400, refusal(NOT_VALID))
    assert kept_addresses(shared_agent) == []


async def test_address_is_trimmed(agent: Agent) -> None:
    blank = {"status": "accepted", "emailAddress": f" \t{ADDRESS}\u00a0\r\n"}

    first = await agent.set_email("x", blank)
    again = await agent.set_email("x", {"status": "accepted", "emailAddress": ADDRESS})

    assert kept_addresses(agent) == [ADDRESS]
    assert (first.status, again.receipt) == (200, first.receipt)


@pytest.mark.parametrize("address", ["no address at all", "guest@localhost", '"q"@[::1]', "@"])
async def test_any_string_is_accepted_without_the_syntax_check(
    start_agent: StartAgent, address: str
) -> None:
    agent = await start_agent(email=EmailSettings(check_syntax=False))
    await agent.start_session({"correlationId": "x"})

    answer = await agent.set_email("x", {"status": "accepted", "emailAddress": f" {address} "})

    assert answer.status == 200
    assert kept_addresses(agent) == [address]


@pytest.mark.parametrize("address", [7, True, [], "a\u0000b"])
async def test_unstorable_address_is_refused_even_without_the_syntax_check(
    start_agent: StartAgent, address: object
) -> None:
    agent = await start_agent(email=EmailSettings(check_syntax=False))
    await agent.start_session({"correlationId": "x"})

    answer = await agent.set_email("x", {"status": "accepted", "emailAddress": address})

    assert answer.body == refusal(NOT_VALID)


@pytest.mark.parametrize("status", ["accepted", "declined", "deferred"])
async def test_unknown_session_is_refused(shared_agent: Agent, status: str) -> None:
    address = ADDRESS if status == "accepted" else None

    answer = await shared_agent.set_email("unknown", {"status": status, "emailAddress": address})

    assert (answer.status, answer.body) == (400, refusal(NO_OPEN_SESSION))


@pytest.mark.parametrize("correlation_id", IMPOSSIBLE_IDS.values(), ids=IMPOSSIBLE_IDS)
async def test_invalid_id_is_an_unknown_session(shared_agent: Agent, correlation_id: str) -> None:
    answer = await shared_agent.set_email(correlation_id, {"status": "declined"})

    assert (answer.status, answer.body) == (400, refusal(NO_OPEN_SESSION))


@pytest.mark.parametrize("encoded", ["%FF", "%ED%A0%80", "%C3", "%00", "%2e", "%2E%2E", "%0A", "%"])
async def test_undecodable_id_is_an_unknown_session(shared_agent: Agent, encoded: str) -> None:
    path = f"/client/users/{encoded}/profile/email"

    answer = await shared_agent.request("PUT", path, b'{"status":"declined"}')

    assert (answer.status, answer.body) == (400, refusal(NO_OPEN_SESSION))


@pytest.mark.parametrize("encoded", ["x", "%78", "x?locale=fr-CA", "x?"])
async def test_percent_encoding_of_the_id_does_not_matter(agent: Agent, encoded: str) -> None:
    path, _, query = encoded.partition("?")

    answer = await agent.request(
        "PUT", f"/client/users/{path}/profile/email?{query}", b'{"status":"declined"}'
    )

    assert answer.status == 200


async def test_id_is_compared_exactly(shared_agent: Agent) -> None:
    await shared_agent.start_session({"correlationId": "é"})

    for other in ("X", "x ", "e\u0301", "É"):
        answer = await shared_agent.set_email(other, {"status": "declined"})
        assert answer.body == refusal(NO_OPEN_SESSION)


@pytest.mark.parametrize("user_status", ["CLOSED", "closed", "Closed", "cLoSeD"])
@pytest.mark.parametrize("status", ["accepted", "declined", "deferred"])
async def test_closed_session_is_refused(
    shared_agent: Agent, user_status: str, status: str
) -> None:
    closed = {"correlationId": f"{user_status} {status}", "userStatus": user_status}
    started = await shared_agent.start_session(closed)
    address = ADDRESS if status == "accepted" else None

    answer = await shared_agent.set_email(
        closed["correlationId"], {"status": status, "emailAddress": address}
    )

    assert (started.status, answer.body) == (200, refusal(NO_OPEN_SESSION))


@pytest.mark.parametrize("user_status", ["OPEN", "ACTIVE", "", None, "NOT CLOSED"])
async def test_session_with_another_user_status_is_open(
    shared_agent: Agent, user_status: str | None
) -> None:
    name = f"open {user_status}"
    await shared_agent.start_session({"correlationId": name, "userStatus": user_status})

    answer = await shared_agent.set_email(name, {"status": "declined"})

    assert answer.status == 200


@pytest.mark.parametrize("correlation_id", ["unknown", "closed", ""])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", NOT_AN_OBJECT),
        (b'{"status":"no"}', "Email capture option no is not supported!"),
        (b'{"status":"accepted"}', "Email address is required"),
        (b'{"status":"accepted","emailAddress":"no"}', NOT_VALID),
        (
            b'{"status":"declined","emailAddress":"no"}',
            "Email address not expected when status is declined",
        ),
    ],
)
async def test_error_in_the_body_takes_precedence_over_the_session(
    shared_agent: Agent, correlation_id: str, body: bytes, message: str
) -> None:
    await shared_agent.start_session({"correlationId": "closed", "userStatus": "CLOSED"})

    answer = await shared_agent.set_email(correlation_id, body)

    assert answer.body == refusal(message)


async def test_error_in_the_status_takes_precedence_over_the_address(shared_agent: Agent) -> None:
    answer = await shared_agent.set_email("x", {"status": "no", "emailAddress": 7})

    assert answer.body == refusal("Email capture option no is not supported!")


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b' { "status" : "declined", "n": 1.0 }\n', b' { "status" : "declined", "n": 1.0 }\n'),
        (
            b'{"z":1.0,"emailAddress":"guest@example.com","status":"accepted","a":[1E2,"\xc3\xa9"]}',
            b'{"z":1.0,"status":"accepted","a":[1E2,"\xc3\xa9"]}',
        ),
        (
            b'{"email\\u0041ddress":"guest@example.com","status":"accepted","":null}',
            b'{"status":"accepted","":null}',
        ),
        (
            b'{"emailAddress":"a@b.test","status":"accepted","emailAddress":"guest@example.com"}',
            b'{"status":"accepted"}',
        ),
        (b'{"emailAddress":null,"status":"deferred"}', b'{"status":"deferred"}'),
    ],
)
async def test_body_is_stored_without_the_address_and_otherwise_byte_for_byte(
    agent: Agent, body: bytes, kept: bytes
) -> None:
    answer = await agent.set_email("x", body)

    assert answer.status == 200
    assert agent.bodies()[1:] == [kept]

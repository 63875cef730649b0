"""Access control: Host, Origin, CORS and token."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.config.settings import ApiSettings
from tests.agent.api.conftest import StartAgent
from tests.support.agent.in_process import SESSIONS, Agent, email_path

POS = "https://pos.example"
EVERY_PATH = [
    ("POST", SESSIONS),
    ("PUT", email_path("x")),
    ("GET", "/agent/v1/sessions/x"),
    ("GET", "/agent/v1/status"),
    ("GET", "/"),
    ("GET", "/openapi.json"),
    ("GET", "/metrics"),
    ("GET", "/nothing"),
    ("DELETE", "/"),
]


async def errors_everywhere(agent: Agent, headers: Mapping[str, str]) -> set[tuple[int, object]]:
    """Request every path with these headers; return the statuses and error codes."""
    body = b'{"correlationId":"x","status":"declined"}'
    answers = [await agent.request(method, path, body, headers) for method, path in EVERY_PATH]
    return {(answer.status, answer.members()["errorCode"]) for answer in answers}


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8480",
        "LocalHost:1",
        "127.0.0.1",
        "127.0.0.1:8480",
        "127.9.9.9",
        "[::1]",
        "[::1]:8480",
        "[0:0:0:0:0:0:0:1]:8480",
    ],
)
async def test_loopback_host_is_allowed_on_any_port(shared_agent: Agent, host: str) -> None:
    [answer] = await shared_agent.send_raw(
        f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    )

    assert answer.status == 200


FOREIGN_HOSTS = [
    b"evil.test",
    b"evil.test:8480",
    b"localhost.evil.test",
    b"127.0.0.1.evil.test",
    b"evil.test:localhost",
    b"user@localhost",
    b"notlocalhost",
    b"192.0.2.1",
    b"0.0.0.0",
    b"[2001:db8::1]:8480",
    b"[::]",
    b"",
    b":8480",
    b"\xff",
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_other_host_is_rejected(shared_agent: Agent, host: bytes) -> None:
    [answer] = await shared_agent.send_raw(b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")

    assert (answer.status, answer.members()["errorCode"]) == (403, "FORBIDDEN")


async def test_rebound_host_is_rejected_on_every_path(shared_agent: Agent) -> None:
    assert await errors_everywhere(shared_agent, {"Host": "evil.test"}) == {(403, "FORBIDDEN")}
    assert shared_agent.bodies() == []


@pytest.mark.parametrize("host", ["till-7.store.example", "TILL-7.Store.Example:8480", "192.0.2.7"])
async def test_allowed_hosts_ignore_case_and_port(start_agent: StartAgent, host: str) -> None:
    agent = await start_agent(
        api=ApiSettings(port=0, allowed_hosts=("till-7.Store.example", "192.0.2.7"))
    )

    allowed = await agent.get("/healthz", {"Host": host})
    other = await agent.get("/healthz", {"Host": "till-8.store.example"})

    assert (allowed.status, other.status) == (200, 403)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.test", "null", "http://localhost", "http://localhost:1", "file://", "", "*"],
)
async def test_other_origin_is_rejected_on_every_path(shared_agent: Agent, origin: str) -> None:
    assert await errors_everywhere(shared_agent, {"Origin": origin}) == {(403, "FORBIDDEN")}
    assert shared_agent.bodies() == []


FOREIGN_PAGES = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Sec-Fetch-Site": "a value of the future"},
]
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize("headers", FOREIGN_PAGES)
async def test_request_of_a_foreign_page_without_origin_is_rejected_on_every_path(
    shared_agent: Agent, headers: Mapping[str, str]
) -> None:
    assert await errors_everywhere(shared_agent, headers) == {(403, "FORBIDDEN")}
    assert shared_agent.bodies() == []


async def test_link_of_a_foreign_page_opens_the_status_page_and_changes_nothing(
    shared_agent: Agent,
) -> None:
    opened = await shared_agent.get("/", LINK)
    changed = await shared_agent.request("POST", "/agent/v1/sync", headers=LINK)

    assert (opened.status, changed.status) == (200, 403)


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_own_page_and_typed_address_are_allowed(shared_agent: Agent, site: str) -> None:
    assert (await shared_agent.get("/agent/v1/status", {"Sec-Fetch-Site": site})).status == 200


async def test_page_of_an_allowed_origin_is_allowed_though_it_is_cross_site(
    start_agent: StartAgent,
) -> None:
    agent = await start_agent(api=ApiSettings(port=0, cors_origins=(POS,)))
    headers = {"Origin": POS, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}

    allowed = await agent.get("/agent/v1/status", headers)
    other = await agent.get("/agent/v1/status", headers | {"Origin": "https://evil.test"})

    assert (allowed.status, other.status) == (200, 403)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_own_origin_is_allowed(shared_agent: Agent, host: str) -> None:
    own = f"{host}:{shared_agent.address.port}"

    answer = await shared_agent.get("/healthz", {"Host": own, "Origin": f"http://{own.lower()}"})

    assert answer.status == 200
    assert answer.header("Access-Control-Allow-Origin") is None


async def test_own_origin_requires_the_same_scheme(shared_agent: Agent) -> None:
    own = f"localhost:{shared_agent.address.port}"

    answer = await shared_agent.get("/healthz", {"Host": own, "Origin": f"https://{own}"})

    assert answer.status == 403


@pytest.fixture
async def open_agent(start_agent: StartAgent) -> Agent:
    """An agent with `POS` in `cors_origins`."""
    return await start_agent(api=ApiSettings(port=0, cors_origins=(POS,)))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", SESSIONS, 200), ("GET", "/nothing", 404), ("PUT", email_path("unknown"), 400)],
)
async def test_configured_origin_gets_cors_headers_on_answers_and_errors(
    open_agent: Agent, method: str, path: str, status: int
) -> None:
    answer = await open_agent.request(method, path, b'{"correlationId":"x"}', {"Origin": POS})

    assert answer.status == status
    assert answer.header("Access-Control-Allow-Origin") == POS
    assert answer.header("Vary") == "Origin"
    exposed = (answer.header("Access-Control-Expose-Headers") or "").split(", ")
    assert {"Loyalty-Receipt", "x-amzn-RequestId"} <= set(exposed)


async def test_preflight_of_a_configured_origin_is_allowed(open_agent: Agent) -> None:
    answer = await open_agent.request(
        "OPTIONS",
        SESSIONS,
        headers={
            "Origin": POS,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )

    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("Access-Control-Allow-Origin") == POS
    assert {"GET", "POST", "PUT"} <= set(
        (answer.header("Access-Control-Allow-Methods") or "").split(", ")
    )
    allowed = (answer.header("Access-Control-Allow-Headers") or "").lower().split(", ")
    assert {"content-type", "authorization"} <= set(allowed)
    assert answer.header("x-amzn-RequestId")


@pytest.mark.parametrize(
    "origin", ["https://evil.test", f"{POS}.evil.test", "https://pos.example:8"]
)
async def test_preflight_of_other_origin_is_rejected(open_agent: Agent, origin: str) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}

    answer = await open_agent.request("OPTIONS", SESSIONS, headers=headers)

    assert answer.status == 403
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


async def test_options_without_preflight_headers_is_405(open_agent: Agent) -> None:
    answer = await open_agent.request("OPTIONS", SESSIONS, headers={"Origin": POS})

    assert answer.status == 405


async def test_request_without_origin_gets_no_cors_headers(open_agent: Agent) -> None:
    answer = await open_agent.start_session({"correlationId": "x"})

    assert answer.status == 200
    assert answer.header("Access-Control-Allow-Origin") is None


@pytest.fixture
async def guarded(start_agent: StartAgent, tmp_path: Path) -> Agent:
    """An agent that requires a token, with `POS` in `cors_origins`."""
    token_file = tmp_path / "token"
    token_file.write_text("s3cret~Token\n")
    return await start_agent(api=ApiSettings(port=0, token_file=token_file, cors_origins=(POS,)))


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer s3cret~Toke", "s3cret~Token", "\xff"],
)
async def test_request_without_token_is_rejected_on_every_path(
    guarded: Agent, given: str | None
) -> None:
    headers = {} if given is None else {"Authorization": given}

    assert await errors_everywhere(guarded, headers) == {(401, "UNAUTHORIZED")}
    assert guarded.bodies() == []


async def test_401_names_the_bearer_scheme(guarded: Agent) -> None:
    answer = await guarded.get("/agent/v1/status")

    assert answer.header("WWW-Authenticate") == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_request_with_token_is_accepted(guarded: Agent, scheme: str) -> None:
    answer = await guarded.start_session(
        {"correlationId": "x"}, Authorization=f"{scheme} s3cret~Token"
    )

    assert answer.status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_endpoints_need_no_token(guarded: Agent, path: str) -> None:
    answer = await guarded.get(path)

    assert answer.status == 200


async def test_preflight_needs_no_token(guarded: Agent) -> None:
    headers = {"Origin": POS, "Access-Control-Request-Method": "POST"}

    welcome = await guarded.request("OPTIONS", SESSIONS, headers=headers)
    stranger = await guarded.request("OPTIONS", SESSIONS, headers=headers | {"Origin": "null"})
    plain = await guarded.request("OPTIONS", SESSIONS)

    assert [answer.status for answer in (welcome, stranger, plain)] == [204, 403, 401]


async def test_token_does_not_bypass_host_and_origin_checks(guarded: Agent) -> None:
    token = {"Authorization": "Bearer s3cret~Token"}

    host = await guarded.get("/healthz", token | {"Host": "evil.test"})
    origin = await guarded.get("/healthz", token | {"Origin": "https://evil.test"})

    assert (host.status, origin.status) == (403, 403)


TRACING = "content-type, traceparent, tracestate, x-b3-traceid, sentry-trace, baggage"


async def test_preflight_of_a_configured_origin_is_allowed_the_headers_that_it_asks_for(
    open_agent: Agent,
) -> None:
    asked = {"Origin": POS, "Access-Control-Request-Method": "PUT"}

    answer = await open_agent.request(
        "OPTIONS", SESSIONS, headers=asked | {"Access-Control-Request-Headers": TRACING}
    )

    allowed = (answer.header("Access-Control-Allow-Headers") or "").lower().split(", ")
    assert {*TRACING.split(", "), "authorization"} <= set(allowed)
    assert "Access-Control-Request-Headers" in (answer.header("Vary") or "")


@pytest.mark.parametrize("asked", ["x y", "a;b", "traceparent,, ,", "é", "x" * 9_000])
async def test_preflight_repeats_nothing_that_is_no_header_name(
    open_agent: Agent, asked: str
) -> None:
    head = f"OPTIONS {SESSIONS} HTTP/1.1\r\nHost: localhost\r\nOrigin: {POS}\r\n"
    head += "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: "
    [answer] = await open_agent.send_raw(head.encode() + asked.encode() + b"\r\n\r\n")

    allowed = set((answer.header("Access-Control-Allow-Headers") or "").split(", "))
    assert answer.status == 204
    assert allowed <= {"Authorization", "Content-Type", "traceparent"}


@pytest.mark.parametrize("network", ["Private-Network", "Local-Network"])
async def test_preflight_of_a_configured_origin_may_reach_the_local_network(
    open_agent: Agent, network: str
) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        f"Access-Control-Request-{network}": "true",
    }

    allowed = await open_agent.request("OPTIONS", SESSIONS, headers=asked | {"Origin": POS})
    plain = await open_agent.request(
        "OPTIONS", SESSIONS, headers={"Origin": POS, "Access-Control-Request-Method": "POST"}
    )
    other = await open_agent.request(
        "OPTIONS", SESSIONS, headers=asked | {"Origin": "https://evil.test"}
    )

    name = f"Access-Control-Allow-{network}"
    assert (allowed.status, allowed.header(name)) == (204, "true")
    assert plain.header(name) is None
    assert (other.status, other.header(name)) == (403, None)

"""An agent reachable from the network: TLS and token on a real socket."""

import asyncio
import json
from pathlib import Path

import pytest

from agent.config import ConfigurationError
from agent.config.settings import ApiSettings
from agent.service import running_agent
from tests.agent.api.conftest import StartAgent
from tests.support.agent.in_process import Agent, settings_in
from tests.support.certificates import make_certificate
from tests.support.patience import PATIENCE_SECONDS

TOKEN = {"Authorization": "Bearer s3cret"}
ACCEPTED = {"status": "accepted", "emailAddress": "guest@example.com"}


def open_to_the_network(directory: Path) -> ApiSettings:
    """Create token and certificate in `directory`; return settings for all addresses."""
    certificate = make_certificate(directory)
    (directory / "token").write_text("s3cret\n")
    return ApiSettings(
        host="0.0.0.0",  # noqa: S104 - the case under test
        port=0,
        token_file=directory / "token",
        tls_cert_file=certificate.cert_file,
        tls_key_file=certificate.key_file,
    )


@pytest.fixture
async def agent(start_agent: StartAgent, tmp_path: Path) -> Agent:
    return await start_agent(api=open_to_the_network(tmp_path))


async def test_request_with_token_is_accepted_over_tls(agent: Agent) -> None:
    session = await agent.start_session({"correlationId": "x"}, **TOKEN)
    email = await agent.set_email("x", ACCEPTED, **TOKEN)

    assert (session.status, email.status) == (200, 200)
    assert agent.bodies() == [b'{"correlationId": "x"}', b'{"status":"accepted"}']


async def test_request_without_token_is_rejected_over_tls(agent: Agent) -> None:
    answer = await agent.start_session({"correlationId": "x"})

    assert (answer.status, answer.members()["errorCode"]) == (401, "UNAUTHORIZED")
    assert agent.bodies() == []


async def test_plain_http_to_a_tls_port_gets_no_answer_and_records_nothing(agent: Agent) -> None:
    body = json.dumps({"correlationId": "x"})
    head = "POST /client/users/anonymous/sessions HTTP/1.1\r\nHost: localhost\r\n"
    request = f"{head}Authorization: Bearer s3cret\r\nContent-Length: {len(body)}\r\n\r\n{body}"

    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", agent.address.port)
        writer.write(request.encode())
        received = await reader.read()
        writer.close()

    assert b"HTTP" not in received
    assert agent.bodies() == []


@pytest.mark.parametrize(("scheme", "status"), [("https", 200), ("http", 403)])
async def test_own_origin_over_tls_is_https(agent: Agent, scheme: str, status: int) -> None:
    own = f"{scheme}://127.0.0.1:{agent.address.port}"

    answer = await agent.get("/agent/v1/status", TOKEN | {"Origin": own})

    assert answer.status == status


@pytest.mark.parametrize(
    ("unusable", "setting"),
    [("token", "api.token_file"), ("cert.pem", "api.tls_cert_file"), ("key.pem", "api.tls_")],
)
@pytest.mark.parametrize("content", [None, "", "not what it should be\n\n"])
async def test_unusable_token_or_tls_file_is_named_before_any_file_is_written(
    tmp_path: Path, unusable: str, setting: str, content: str | None
) -> None:
    api = open_to_the_network(tmp_path)
    (tmp_path / unusable).unlink()
    if content is not None:
        (tmp_path / unusable).write_text(content)

    with pytest.raises(ConfigurationError) as raised:
        async with running_agent(settings_in(tmp_path / "state", api=api)):
            pass

    assert str(tmp_path / unusable) in str(raised.value)
    assert f": {setting}" in str(raised.value)
    assert not (tmp_path / "state").exists()

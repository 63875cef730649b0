"""Refused callers of the till API leave one line a minute, however many requests a page sends."""

import logging
from pathlib import Path

import pytest

from sync.runtime.refusal_log import fingerprint
from tests.agent.api.conftest import StartAgent
from tests.support.agent.in_process import Agent
from tests.support.log_fields import fields_of


async def test_page_of_another_origin_leaves_one_line_a_minute(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    """A web page in the browser of the POS machine can send thousands of requests a second."""
    caplog.set_level(logging.INFO)
    for _ in range(50):
        await agent.request("GET", "/agent/v1/status", headers={"Origin": "https://evil.example"})

    (line,) = fields_of(caplog, "access.refused")
    assert (line["peer"], line["origin"]) == ("127.0.0.1", "https://evil.example")


async def test_wrong_token_is_logged_by_its_fingerprint(
    start_agent: StartAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("the-right-token-of-the-tills-0123456789")
    agent = await start_agent(api={"token_file": file})
    caplog.set_level(logging.INFO)

    await agent.request("GET", "/agent/v1/status", headers={"Authorization": "Bearer a-guess"})

    (line,) = fields_of(caplog, "access.refused")
    assert (line["code"], line["fingerprint"]) == ("UNAUTHORIZED", fingerprint("a-guess"))
    assert "a-guess" not in caplog.text


async def test_refused_request_names_the_path_as_it_is_documented(
    start_agent: StartAgent, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await start_agent()
    caplog.set_level(logging.INFO)

    await agent.request("PUT", "/client/users/x/profile/email", b"{}")

    (line,) = fields_of(caplog, "request.refused")
    assert line["route"] == "PUT /client/users/{correlation_id}/profile/email"

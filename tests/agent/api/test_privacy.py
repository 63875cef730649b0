"""No e-mail address in log, metrics, status, page, errors, or in plaintext on disk."""

import logging
from pathlib import Path

import pytest

from sync.runtime.logging import TextFormatter
from tests.support.agent.in_process import Agent, email_path, state_path
from tests.support.clocks import AgentClock

NAME = "distinctive.person"
ADDRESS = f"{NAME}@example.org"
SPELLINGS = (NAME, NAME.upper(), "distinctive%2Eperson")


def found_in(text: str) -> list[str]:
    return [spelling for spelling in SPELLINGS if spelling in text]


async def use_the_address_everywhere(agent: Agent, clock: AgentClock) -> None:
    """Send the address in its member and in every other place that a faulty till could use."""
    accepted = {"status": "accepted", "emailAddress": ADDRESS}
    await agent.start_session({"correlationId": "x"})
    await agent.set_email("x", accepted)
    await agent.set_email("x", accepted)
    await agent.set_email("x", {"status": "deferred", "emailAddress": ADDRESS})
    await agent.set_email("x", {"status": ADDRESS, "emailAddress": ADDRESS})
    await agent.set_email("x", {"status": "accepted", "emailAddress": f"{ADDRESS}@"})
    await agent.set_email(ADDRESS, accepted)
    body = f'{{"status":"accepted","emailAddress":"{ADDRESS}"}}'.encode()
    await agent.request("PUT", f"/client/users/{ADDRESS}%FF/profile/email", body)
    await agent.start_session({"correlationId": "y", "channel": [ADDRESS]})
    await agent.start_session({"correlationId": "y"}, f"?locale={ADDRESS}")
    await agent.start_session(f'{{"{ADDRESS}'.encode())
    await agent.request("GET", f"/{ADDRESS}?email={ADDRESS}", headers={"X-Email": ADDRESS})
    await agent.request("PATCH", email_path(ADDRESS))
    await agent.get("/", {"Host": ADDRESS})
    await agent.get("/", {"Origin": f"https://{ADDRESS}"})
    await agent.send_raw(f"{ADDRESS} / HTTP/1.1\r\n\r\n".encode())
    await agent.send_raw(f"GET /{ADDRESS}\xff HTTP/1.1\r\n\r\n".encode("latin-1"))
    await agent.send_raw(f"GET / HTTP/1.1\r\nHost: localhost\r\n{ADDRESS}\r\n\r\n".encode())
    clock.broken = True
    await agent.set_email("x", accepted)
    clock.broken, clock.wall_us = False, 2**70
    await agent.set_email("x", accepted | {"new": True})
    clock.wall_us = 0


async def test_log_contains_no_address_even_before_masking(
    agent: Agent, clock: AgentClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    await use_the_address_everywhere(agent, clock)

    formatter = TextFormatter()
    ours = [record for record in caplog.records if record.name.startswith(("agent", "sync"))]
    for record in ours:
        raw = f"{record.getMessage()} {vars(record)} {record.exc_info and record.exc_info[1]!r}"
        assert found_in(raw) == []
    assert found_in("\n".join(formatter.format(record) for record in caplog.records)) == []
    assert len(ours) > 10


@pytest.mark.parametrize("path", ["/metrics", "/agent/v1/status", "/", state_path("x")])
async def test_no_endpoint_returns_an_address(agent: Agent, clock: AgentClock, path: str) -> None:
    await use_the_address_everywhere(agent, clock)

    answer = await agent.get(path)

    assert answer.status == 200
    assert found_in(f"{answer.headers}{answer.body.decode()}") == []


async def test_metrics_contain_no_text_from_a_till(agent: Agent) -> None:
    word = "wordofatill"
    await agent.start_session({"correlationId": word, "channel": word}, f"?{word}={word}")
    await agent.set_email(word, {"status": word})
    await agent.request("GET", f"/{word}", headers={"Host": word})
    await agent.request("PATCH", f"/agent/v1/sessions/{word}")

    answer = await agent.get("/metrics")

    assert word not in answer.body.decode()


def all_files(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("session", "email"),
    [
        ({}, {"status": "accepted", "emailAddress": ADDRESS}),
        ({}, {"status": "accepted", "emailAddress": ADDRESS, "email": ADDRESS}),
        ({}, {"status": "accepted", "emailAddress": ADDRESS, "more": [{ADDRESS.upper(): 1}]}),
        ({}, {"status": "declined", "email": ADDRESS}),
        ({"externalIdentifier": ADDRESS}, {"status": "deferred"}),
        ({"customer": {"mail": ADDRESS}}, {"status": "deferred"}),
    ],
)
async def test_disk_contains_no_plaintext_address(
    agent: Agent, tmp_path: Path, session: dict[str, object], email: dict[str, object]
) -> None:
    await agent.start_session({"correlationId": "x"} | session)

    answer = await agent.set_email("x", email)

    assert answer.status == 200
    files = all_files(tmp_path)
    assert "agent.db-wal" in files
    assert [name for name, content in files.items() if found_in(content.decode("latin-1"))] == []

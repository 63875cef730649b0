"""The fault-injecting proxy: a real agent answers, and each fault does as it says."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from agent.sandbox.answers import NOTICE
from agent.sandbox.control import Control, PlannedFaults
from agent.sandbox.exchange import Ending, Exchange
from agent.sandbox.fault_proxy import FaultProxy
from agent.sandbox.faults import FaultPlan, parse_words
from agent.sandbox.running_sandbox import listen_on
from tests.support.agent.in_process import Agent, agent_under_test, settings_in
from tests.support.patience import PATIENCE_SECONDS

START = {"correlationId": "a", "channel": "STORE"}
PAGE = "https://pos.example"
SESSIONS = "/client/users/anonymous/sessions"


@dataclass
class Sandbox:
    """A sandbox before an agent of this process. `seen` are the exchanges that have ended."""

    agent: Agent
    client: aiohttp.ClientSession
    plan: FaultPlan = field(default_factory=FaultPlan)
    seen: list[Exchange] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    restarts: int = 0

    def on_end(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        self.ended.set()

    async def restart(self) -> None:
        self.restarts += 1

    async def start_session(self) -> aiohttp.ClientResponse:
        async with self.client.post(SESSIONS, json=START) as answer:
            await answer.read()
            return answer

    async def fail(self, fault: str) -> Exchange:
        """Ask for a fault; return the exchange of a session start that no answer comes to."""
        self.plan.add(parse_words(fault))
        with pytest.raises(aiohttp.ClientError):
            await self.start_session()
        return self.seen[-1]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    settings = settings_in(tmp_path / "state")
    sockets = listen_on(0)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    async with agent_under_test(settings) as agent, aiohttp.ClientSession(url) as client:
        sandbox = Sandbox(agent, client)
        injector = PlannedFaults(sandbox.plan, sandbox.on_end)
        proxy = FaultProxy(agent.address.port, injector, sandbox.restart, [PAGE])
        proxy.control = Control(sandbox.plan, proxy.restart).answer
        await proxy.open(sockets)
        try:
            yield sandbox
        finally:
            await proxy.close()


async def test_without_a_fault_the_agent_answers_and_the_header_says_sandbox(
    sandbox: Sandbox,
) -> None:
    answer = await sandbox.start_session()

    assert answer.status == 200
    assert (await answer.json())["sessionCorrelationId"] == "a"
    assert NOTICE in answer.headers["Loyalty-Sandbox"]
    assert "Loyalty-Receipt" in answer.headers
    assert [json.loads(body) for body in sandbox.agent.bodies()] == [START]


async def test_a_real_agent_never_says_sandbox(sandbox: Sandbox) -> None:
    answer = await sandbox.agent.start_session(START)

    assert "Loyalty-Sandbox" not in dict(answer.headers)
    assert (await sandbox.agent.request("POST", "/sandbox/faults", b"{}")).status == 404


@pytest.mark.parametrize("fault", ["lost", "half", "restart"])
async def test_an_answer_lost_after_recording_is_recorded_once_with_its_repeat(
    sandbox: Sandbox, fault: str
) -> None:
    exchange = await sandbox.fail(fault)
    answer = await sandbox.start_session()

    assert (exchange.ending, answer.status) == (Ending.CUT, 200)
    assert len(sandbox.agent.bodies()) == 1
    assert sandbox.restarts == (1 if fault == "restart" else 0)


async def test_a_reset_is_one_on_the_wire_and_records_nothing(sandbox: Sandbox) -> None:
    sandbox.plan.add(parse_words("reset"))

    with pytest.raises(aiohttp.ClientOSError) as caught:
        await sandbox.start_session()

    assert isinstance(caught.value.__cause__ or caught.value, OSError)
    assert sandbox.agent.bodies() == []


@pytest.mark.parametrize(("fault", "code"), [("503", "UNAVAILABLE"), ("507", "STORAGE_FULL")])
async def test_an_error_has_the_agents_form_and_records_nothing(
    sandbox: Sandbox, fault: str, code: str
) -> None:
    sandbox.plan.add(parse_words(fault))

    answer = await sandbox.start_session()

    members = await answer.json()
    assert [*members] == ["statusCode", "errorMessage", "errorCode"]
    assert (answer.status, members["errorCode"]) == (int(fault), code)
    assert (fault == "503") is ("Retry-After" in answer.headers)
    assert answer.headers["Loyalty-Reason"] == "asked of the sandbox"
    assert answer.headers["x-amzn-RequestId"]
    assert sandbox.agent.bodies() == []


async def test_a_page_that_is_a_till_can_read_an_error(sandbox: Sandbox) -> None:
    sandbox.plan.add(parse_words("503"))

    async with sandbox.client.post(SESSIONS, json=START, headers={"Origin": PAGE}) as answer:
        assert answer.status == 503
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE


async def test_a_silent_sandbox_notes_when_the_till_leaves(sandbox: Sandbox) -> None:
    sandbox.plan.add(parse_words("silent"))
    timeout = aiohttp.ClientTimeout(total=0.05)

    with pytest.raises(TimeoutError):
        await sandbox.client.post(SESSIONS, json=START, timeout=timeout)

    await asyncio.wait_for(sandbox.ended.wait(), PATIENCE_SECONDS)
    assert sandbox.seen[-1].ending is Ending.LEFT
    assert sandbox.agent.bodies() == []


async def test_a_slow_answer_is_recorded_and_comes(sandbox: Sandbox) -> None:
    sandbox.plan.add(parse_words("slow 0.05"))

    answer = await sandbox.start_session()

    assert answer.status == 200
    assert sandbox.seen[-1].ended is not None
    assert sandbox.seen[-1].ended - sandbox.seen[-1].started >= 0.05


async def test_a_program_asks_for_faults_over_http(sandbox: Sandbox) -> None:
    fault = {"kind": "503", "call": "session", "times": 2}
    async with sandbox.client.post("/sandbox/faults", json=fault) as asked:
        pending = (await asked.json())["pending"]
    statuses = [(await sandbox.start_session()).status for _ in range(3)]

    assert [one["kind"] for one in pending] == ["503"]
    assert statuses == [503, 503, 200]
    async with sandbox.client.post("/sandbox/restart") as restarted:
        assert (restarted.status, sandbox.restarts) == (200, 1)


async def test_faults_to_come_are_cleared_over_http(sandbox: Sandbox) -> None:
    sandbox.plan.add(parse_words("503 always"))

    async with sandbox.client.delete("/sandbox/faults") as cleared:
        assert (await cleared.json())["pending"] == []
    assert (await sandbox.start_session()).status == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("lost", {}, 400),
        ("[" * 20_000, {}, 400),
        ('{"kind":"loss"}', {}, 400),
        ('{"kind":"lost"}', {"Origin": "https://evil.test"}, 403),
        ('{"kind":"lost"}', {"Host": "evil.test"}, 403),
    ],
)
async def test_a_wrong_or_foreign_control_request_asks_for_nothing(
    sandbox: Sandbox, body: str, headers: dict[str, str], status: int
) -> None:
    async with sandbox.client.post("/sandbox/faults", data=body, headers=headers) as answer:
        assert answer.status == status
        assert (await answer.json())["statusCode"] == status
    assert sandbox.plan.pending == ()


@pytest.mark.parametrize("size", [17 * 1024, 900 * 1024])
async def test_too_large_a_body_is_answered_as_by_the_agent_and_a_huge_one_is_not_kept(
    sandbox: Sandbox, size: int
) -> None:
    async with sandbox.client.post(SESSIONS, data=b" " * size) as answer:
        error = await answer.json()

    assert (answer.status, error["errorCode"]) == (413, "PAYLOAD_TOO_LARGE")
    assert len(sandbox.seen[-1].body) < 32 * 1024


async def test_the_page_says_sandbox_first(sandbox: Sandbox) -> None:
    async with sandbox.client.get("/") as answer:
        page = await answer.text()

    assert page.index(NOTICE) < page.index("<h1>")
    assert "<title>SANDBOX" in page


async def test_a_kept_connection_has_one_number(sandbox: Sandbox) -> None:
    await sandbox.start_session()
    await sandbox.start_session()
    await sandbox.fail("lost")
    await sandbox.start_session()

    assert [one.connection for one in sandbox.seen] == [1, 1, 1, 2]


async def test_large_cookies_pass_the_sandbox_as_they_pass_the_agent(sandbox: Sandbox) -> None:
    async with sandbox.client.post(
        SESSIONS, json=START, headers={"Cookie": "a=" + "x" * 60_000}
    ) as answer:
        assert answer.status == 200

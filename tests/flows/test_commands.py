"""`sync` and `dead-letters` as separate processes, beside a running agent."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.drill.processes import free_port
from sync.protocol.wire import BATCHES_PATH, EventType
from tests.support.agent.process import agent
from tests.support.central import Fault, Request, ScriptedCentral, faults
from tests.support.central.batch_protocol import read_batch
from tests.support.central.faults import Stalled
from tests.support.processes import ROOT, messages
from tests.support.shop.shop import QUICK, Shop, capturing_in, shop_at
from tests.support.terminal import run_on_terminal
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.process

# Only commands trigger sending; backoff is long.
PATIENT = QUICK.model_copy(
    update={"interval_seconds": 86_400, "backoff_base_seconds": 60, "backoff_cap_seconds": 60}
)
UNKNOWN = "00000000-0000-0000-0000-000000000000/7"
Result = subprocess.CompletedProcess[str]


@pytest.fixture
async def central() -> AsyncIterator[ScriptedCentral]:
    async with ScriptedCentral() as central:
        yield central


def shop_of(directory: Path, central: ScriptedCentral) -> AbstractAsyncContextManager[Shop]:
    """Open a shop that delivers by itself but does not retry by itself."""
    return shop_at(directory, central.url, "batch", sync=PATIENT)


async def command(shop: Shop, *arguments: str) -> Result:
    """Run a command beside the shop's agent."""
    port = str(shop.agent.address.port)
    return await asyncio.to_thread(agent, *arguments, LOYALTY_AGENT__API__PORT=port)


@asynccontextmanager
async def shop_where_captures_wait(
    directory: Path, central: ScriptedCentral, customers: int
) -> AsyncIterator[Shop]:
    """Open a shop whose connection is up again, while its agent still backs off."""
    ledger = TillLedger()
    async with capturing_in(directory, ledger) as shop:
        await shop.trade(customers)
    await central.stop()
    async with shop_of(directory, central) as shop:
        await shop.until(state="retrying")
        await central.start()
        yield shop


async def refuse_one_answer(shop: Shop, central: ScriptedCentral) -> str:
    """Let head office refuse one customer's address; return the dead letter's id."""
    customer = next(shop.ledger.customers(1))
    central.refuse(customer.correlation_id, EventType.EMAIL_ANSWERED, "EMAIL_IN_USE", "in use")
    shop.ledger.ask_again([customer])
    await shop.trade(0)
    await shop.until(waiting=0, deadLetters=1)
    (letter,) = await shop.dead_letters()
    return f"{letter['epoch']}/{letter['sequence']}"


async def test_sync_triggers_delivery_at_once(tmp_path: Path, central: ScriptedCentral) -> None:
    async with shop_where_captures_wait(tmp_path / "state", central, 2) as shop:
        result = await command(shop, "sync")
        await shop.delivered()
    assert (result.returncode, messages(result.stderr)) == (0, "")
    assert result.stdout == "Delivery is triggered.\n"


async def test_sync_wait_ends_when_outbox_is_empty_and_shows_no_progress_in_a_pipe(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    async with shop_where_captures_wait(tmp_path / "state", central, 100) as shop:
        result = await command(shop, "sync", "--wait")
    assert (result.returncode, result.stdout, messages(result.stderr)) == (
        0,
        "No captures are pending.\n",
        "",
    )
    assert len(central.ledger.records) == 200


async def test_sync_wait_shows_progress_on_a_terminal(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    async with shop_where_captures_wait(tmp_path / "state", central, 5) as shop:
        shown = await asyncio.to_thread(terminal_of, shop, "sync", "--wait")
    assert "Delivering" in shown
    assert "10/10" in shown
    assert "No captures are pending." in shown


async def test_sync_wait_shows_no_progress_if_outbox_is_empty(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    async with shop_of(tmp_path / "state", central) as shop:
        await shop.trade(1)
        await shop.delivered()
        shown = await asyncio.to_thread(terminal_of, shop, "sync", "--wait")
    assert "Delivering" not in shown
    assert "No captures are pending." in shown


@pytest.mark.parametrize("trouble", ["head office is down", "unauthorized"])
async def test_sync_wait_that_cannot_continue_names_cause_and_exits_with_1(
    tmp_path: Path, central: ScriptedCentral, trouble: str
) -> None:
    async with shop_where_captures_wait(tmp_path / "state", central, 2) as shop:
        if trouble == "unauthorized":
            central.credentials = set()
        else:
            await central.stop()
        result = await command(shop, "sync", "--wait")
    assert (result.returncode, result.stdout) == (1, "")
    assert f"still pending: 4 captures; cause: {trouble} (" in result.stderr


async def test_sync_wait_ends_beside_a_capture_without_a_verdict(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    """A firewall dislikes one capture: the command would wait for it for ever."""
    async with shop_where_captures_wait(tmp_path / "state", central, 2) as shop:
        disliked: list[str] = []

        def default_fault(request: Request) -> Fault | None:
            if request.path != BATCHES_PATH:
                return None
            batch = read_batch(request.body, request.encoding)
            answers = [e.correlation_id for e in batch.events if e.type == EventType.EMAIL_ANSWERED]
            if answers and not disliked:
                disliked.append(answers[0])
            return faults.html(403) if set(disliked).intersection(answers) else None

        central.default_fault = default_fault
        result = await command(shop, "sync", "--wait")
        status = await shop.status()
    assert (result.returncode, result.stdout) == (1, "")
    assert "still pending: 1 capture; cause: no verdict of head office on them" in result.stderr
    assert (status["waiting"], status["deadLetters"]) == (1, 0)
    assert len(central.ledger.records) == 3


async def test_sync_wait_exits_with_1_after_a_refusal(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    async with shop_of(tmp_path / "state", central) as shop:
        await refuse_one_answer(shop, central)
        result = await command(shop, "sync", "--wait")
    assert (result.returncode, result.stdout) == (1, "No captures are pending.\n")
    assert "rejected: 1 capture; see loyalty-agent dead-letters list" in result.stderr


async def test_sync_wait_exits_with_1_when_agent_stops(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    stalled = Stalled()
    async with shop_where_captures_wait(tmp_path / "state", central, 2) as shop:
        central.script(stalled, on="/sync/v1/batches")
        waiting = asyncio.ensure_future(command(shop, "sync", "--wait"))
        await stalled.reached.wait()
    stalled.release.set()
    result = await waiting
    assert result.returncode == 1
    assert "cannot reach the agent on 127.0.0.1" in result.stderr


async def test_sync_without_central_url_exits_with_1(tmp_path: Path) -> None:
    async with capturing_in(tmp_path / "state", TillLedger()) as shop:
        result = await command(shop, "sync", "--wait")
    assert result.returncode == 1
    assert "central.url is not set" in result.stderr


def test_commands_exit_with_1_without_running_agent() -> None:
    port = free_port()
    result = agent("dead-letters", "list", LOYALTY_AGENT__API__PORT=str(port))
    assert (result.returncode, result.stdout) == (1, "")
    assert f"cannot reach the agent on 127.0.0.1 port {port}" in result.stderr


async def test_list_without_dead_letters_exits_with_0(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    async with shop_of(tmp_path / "state", central) as shop:
        result = await command(shop, "dead-letters", "list")
    assert (result.returncode, result.stdout) == (0, "There are no dead letters.\n")


async def test_dead_letter_is_listed_and_shown_without_address(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    async with shop_of(tmp_path / "state", central) as shop:
        number = await refuse_one_answer(shop, central)
        listed = await command(shop, "dead-letters", "list")
        shown = await command(shop, "dead-letters", "show", number)
    assert listed.returncode == 1
    columns = listed.stdout.rstrip("\n").split("\t")
    # Scripts cut columns by their number: new ones stand last.
    assert columns[:4] == [number, "email.answered", "EMAIL_IN_USE", "in use"]
    assert columns[5:] == ["1", "refused"]
    assert shown.returncode == 0
    assert "errorCode: EMAIL_IN_USE" in shown.stdout.splitlines()
    assert "@" not in listed.stdout + shown.stdout


async def test_dead_letters_are_listed_across_pages(
    tmp_path: Path, central: ScriptedCentral, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.api.dead_letters.PAGE_SIZE", 2)
    async with shop_of(tmp_path / "state", central) as shop:
        customers = list(shop.ledger.customers(5))
        for customer in customers:
            central.refuse(customer.correlation_id, EventType.EMAIL_ANSWERED)
        shop.ledger.ask_again(customers)
        await shop.trade(0)
        await shop.until(waiting=0, deadLetters=5)
        result = await command(shop, "dead-letters", "list", "--json")
    assert result.returncode == 1
    assert len({letter["sequence"] for letter in json.loads(result.stdout)}) == 5


async def test_retried_dead_letter_is_delivered(tmp_path: Path, central: ScriptedCentral) -> None:
    async with shop_of(tmp_path / "state", central) as shop:
        number = await refuse_one_answer(shop, central)
        central.accept_all()
        result = await command(shop, "dead-letters", "retry", number)
        await shop.until(waiting=0, deadLetters=0)
    assert (result.returncode, result.stdout) == (0, f"{number} is queued again.\n")
    assert len(central.ledger.records) == 2


async def test_discarded_dead_letter_is_gone(tmp_path: Path, central: ScriptedCentral) -> None:
    async with shop_of(tmp_path / "state", central) as shop:
        number = await refuse_one_answer(shop, central)
        result = await command(shop, "dead-letters", "discard", number)
        again = await command(shop, "dead-letters", "show", number)
    assert (result.returncode, result.stdout) == (0, f"{number} is discarded.\n")
    assert again.returncode == 1
    assert "No such dead letter" in again.stderr


async def test_discarding_a_session_names_its_refused_answers_and_keeps_them(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    async with shop_of(tmp_path / "state", central) as shop:
        customers = list(shop.ledger.customers(2))
        central.refuse(customers[0].correlation_id)
        central.refuse(customers[1].correlation_id, EventType.EMAIL_ANSWERED)
        shop.ledger.ask_again(customers)
        await shop.trade(0)
        await shop.until(waiting=0, deadLetters=3)
        name, letters = customers[0].correlation_id, await shop.dead_letters()
        of_first = [one for one in letters if one["correlationId"] == name]
        session, answer = [f"{one['epoch']}/{one['sequence']}" for one in of_first]
        result = await command(shop, "dead-letters", "discard", session)
        assert len(await shop.dead_letters()) == 2
    told = [f"{session} is discarded.", f"Its e-mail answer remains a dead letter: {answer}"]
    assert (result.returncode, result.stdout.splitlines()) == (0, told)


async def test_unknown_dead_letter_id_exits_with_1(
    tmp_path: Path, central: ScriptedCentral
) -> None:
    async with shop_of(tmp_path / "state", central) as shop:
        result = await command(shop, "dead-letters", "retry", UNKNOWN)
    assert (result.returncode, result.stdout) == (1, "")
    assert "No such dead letter" in result.stderr


@pytest.mark.parametrize("wrong", ["7", "epoch/7", "../../sync"])
def test_malformed_dead_letter_id_exits_with_2_without_a_request(wrong: str) -> None:
    result = CliRunner().invoke(app, ["dead-letters", "discard", wrong])
    assert result.exit_code == 2
    assert f"{wrong!r} is not EPOCH/SEQUENCE: see loyalty-agent dead-letters list" in result.stderr


def terminal_of(shop: Shop, *arguments: str) -> str:
    """Run a command beside the shop's agent on a terminal; return its output."""
    port = {"LOYALTY_AGENT__API__PORT": str(shop.agent.address.port)}
    program = [sys.executable, "-m", "agent", *arguments]
    return run_on_terminal(program, ROOT, os.environ | port)

"""Another program holds a lock on the database: requests get 503 at once, and everybody is told."""

import asyncio
import json
import logging
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE
from tests.support.agent.in_process import SESSIONS, agent_under_test, settings_in
from tests.support.agent.process import AGENT
from tests.support.head_office import receiver
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.process import HQ, write_config
from tests.support.processes import run_command
from tests.support.raw_http import HttpResponse

pytestmark = pytest.mark.process
# Twice what is promised: the machine of the tests is busy.
PROMISED_SECONDS = 4.0
LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


# As a command of head office does, for example `forget` while it rewrites the file.
COMMAND_LOCK = """
import fcntl, sys
file = open(sys.argv[1] + ".lock")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def locked_by_another(database: Path, script: str = LOCK) -> AsyncIterator[str]:
    """Hold the write lock on a database in another process; give its id and command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(database)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert await process.stdout.readline() == b"locked\n"
        yield f"process {process.pid} ({command_of(process.pid)})"
    finally:
        process.stdin.close()
        await process.wait()


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def agent_config(directory: Path) -> Path:
    config = directory.with_name(f"{directory.name}.toml")
    config.write_text(f'[storage]\ndirectory = "{directory}"\n')
    return config


def run_doctor(program: tuple[str, ...], config: Path) -> dict[str, dict[str, str]]:
    """Run `doctor` in a process of its own; return its findings by name."""
    result = run_command([*program, "--config", str(config), "doctor", "--json"], {})
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def session_body() -> bytes:
    members = {"correlationId": str(uuid.uuid4()), "externalIdentifier": "POS-1"}
    return json.dumps(members | {"channel": "STORE", "locale": "en-CA"}).encode()


def reasons(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    """Return the reasons in the log lines of an event."""
    records = [record for record in caplog.records if record.getMessage() == event]
    return [str(vars(record)["fields"].get("reason")) for record in records]


async def test_tills_get_503_at_once_while_another_program_locks_the_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_in(tmp_path)
    with caplog.at_level(logging.INFO):
        async with agent_under_test(settings) as agent:

            async def capture() -> HttpResponse:
                async with asyncio.timeout(PROMISED_SECONDS):
                    return await agent.request("POST", SESSIONS, session_body())

            before = (await capture()).receipt
            async with locked_by_another(tmp_path / DATABASE_FILE) as holder:
                refused = [await capture(), *await asyncio.gather(*(capture() for _ in range(20)))]
                status = (await agent.get("/agent/v1/status")).members()
                ready = await agent.get("/readyz")
                doctor = await asyncio.to_thread(run_doctor, AGENT, agent_config(tmp_path))
            after = (await capture()).receipt

    assert {answer.status for answer in refused} == {503}
    assert {tuple(answer.members()) for answer in refused} == {
        ("statusCode", "errorMessage", "errorCode")
    }
    assert holder in str(refused[0].header("Loyalty-Reason"))
    assert "check the disk" not in str(refused[0].header("Loyalty-Reason"))
    storage = status["storage"]
    assert isinstance(storage, dict)
    assert storage["state"] == "down"
    assert holder in storage["reason"]
    assert ready.status == 503
    assert (doctor["lock"]["verdict"], holder in doctor["lock"]["found"]) == ("fault", True)
    assert holder in reasons(caplog, "request.not_recorded")[0]
    # The store stayed open: nothing was begun anew.
    assert caplog.messages.count("store.opened") == 1
    assert str(after).partition("/")[0] == str(before).partition("/")[0]
    assert int(str(after).partition("/")[2]) == int(str(before).partition("/")[2]) + 1


async def test_agent_that_starts_on_a_locked_database_says_so_and_captures_once_it_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_in(tmp_path)
    async with agent_under_test(settings) as agent:
        first = (await agent.request("POST", SESSIONS, session_body())).receipt
    async with (
        locked_by_another(tmp_path / DATABASE_FILE) as holder,
        agent_under_test(settings) as agent,
    ):
        async with asyncio.timeout(PROMISED_SECONDS):
            refused = await agent.request("POST", SESSIONS, session_body())
        os.kill(int(holder.split()[1]), 15)
        while (answer := await agent.request("POST", SESSIONS, session_body())).status == 503:
            """The store is opened again once a second."""

    assert refused.status == 503
    assert holder in str(refused.header("Loyalty-Reason"))
    assert holder in reasons(caplog, "store.open_failed")[0]
    assert str(answer.receipt).partition("/")[0] == str(first).partition("/")[0]


@pytest.mark.parametrize(
    ("script", "verdict"), [(LOCK, "fault"), (COMMAND_LOCK, "warning")], ids=["tool", "command"]
)
async def test_agents_get_503_at_once_while_another_program_locks_the_ledger(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, script: str, verdict: str
) -> None:
    """Behind a command of head office they had waited for 15 s, one after the other."""
    sender = SimulatedAgent("0042", "till-1")
    with caplog.at_level(logging.INFO):
        async with receiver.receiver_under_test(receiver.settings_in(tmp_path)) as office:
            await office.enroll(sender)

            async def send() -> HttpResponse:
                async with asyncio.timeout(PROMISED_SECONDS):
                    return await office.send(sender, session(1))

            async with locked_by_another(office.database, script) as holder:
                refused = [await send(), *await asyncio.gather(*(send() for _ in range(8)))]
                ready = await office.get("/readyz")
                doctor = await asyncio.to_thread(run_doctor, HQ, write_config(tmp_path))
            accepted = await send()

    assert {answer.status for answer in refused} <= {429, 503}
    assert refused[0].status == 503
    assert (ready.status, holder in ready.body.decode()) == (503, True)
    assert (doctor["lock"]["verdict"], holder in doctor["lock"]["found"]) == (verdict, True)
    assert any(holder in reason for reason in reasons(caplog, "request.refused"))
    assert accepted.status == 200

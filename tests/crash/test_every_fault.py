"""Every n-th call of a kind to the files of the store fails, from the start on a damaged database.

It is set aside and salvaged; then the agent captures, delivers and purges.

In run n of m the calls n, n + m, n + 2m, ... of each thread fail: together the runs fail every call
once. Whatever fails, no acknowledged capture is lost, the agent goes on, and every till is answered
in the shape of the API.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.store.files.quarantine import QUARANTINE, list_quarantined, list_unfinished
from tests.support.agent.process import AgentProcess, agent_process, delivering_to
from tests.support.central import ScriptedCentral
from tests.support.faults.strace import strace
from tests.support.processes import ProcessEndedError
from tests.support.shop.records import records_of
from tests.support.shop.verdict import judge
from tests.support.till.crowd import CaptureAnswer
from tests.support.till.ledger import TillLedger
from tests.support.till.requests import Kind, Pair, Requests, Response, get, send_request

pytestmark = pytest.mark.process

PROGRAM = (sys.executable, "-m", "tests.crash.purging_often")
REQUESTS = Requests("127.0.0.1", 0)
SHAPE = {"statusCode", "errorMessage", "errorCode"}
TILLS, CUSTOMERS, ATTEMPTS, STARTS = 4, 10, 3, 3
PHASE_SECONDS, ARRIVAL_SECONDS, LOOK_SECONDS = 8.0, 30.0, 0.1
FILES = (
    "agent.db",
    "agent.db-wal",
    "agent.db-shm",
    "agent.mark",
    "agent.lock",
    "agent.ballast",
    "encryption.key",
    QUARANTINE,
    ".",
)
# In the directory of a quarantined database, which is named for the second.
QUARANTINED_FILES = (
    "agent.db",
    "agent.db-wal",
    "agent.mark",
    "salvage.db",
    "salvage.db-journal",
    "delivered",
    ".",
)
QUARANTINED_WITHIN = timedelta(seconds=20)
NO_HEAD_OFFICE = "http://127.0.0.1:9"
HEADER_BYTES = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """System calls, their error, and the number of runs that together fail every call."""

    calls: str
    error: str
    runs: int


WRITE, SYNC, RENAME = "pwrite64,write", "fdatasync,fsync", "rename,renameat,renameat2"
OPEN, TRUNCATE = "openat,open", "ftruncate,truncate,fallocate"
# The first start writes its schema in one transaction of some 70 calls.
FAULTS = [
    Fault(WRITE, "EIO", 101),
    Fault(WRITE, "ENOSPC", 101),
    Fault(SYNC, "EIO", 11),
    Fault(RENAME, "EIO", 3),
    Fault(OPEN, "EIO", 11),
    Fault(OPEN, "EMFILE", 11),
    Fault(TRUNCATE, "EIO", 5),
    Fault(TRUNCATE, "ENOSPC", 5),
]
RUNS = [
    pytest.param(fault, number, id=f"{fault.calls.partition(',')[0]}-{fault.error}-{number}")
    for fault in FAULTS
    for number in range(1, fault.runs + 1)
]


@dataclass(slots=True)
class Life:
    """A running agent with its tills and head office."""

    port: int
    ledger: TillLedger
    central: ScriptedCentral
    state: Path

    async def serve(self, pair: Pair) -> None:
        """Serve a customer; a till repeats what is refused a few times."""
        if await self._record(Kind.SESSION, pair, REQUESTS.session(pair)):
            await self._record(Kind.EMAIL, pair, REQUESTS.email(pair))

    async def _record(self, kind: Kind, pair: Pair, request: bytes) -> bool:
        for _ in range(ATTEMPTS):
            response = await send_request(self.port, request)
            require_shape(response)
            if response.status == 400:
                # Its session was purged meanwhile: only a delivered one may be.
                delivered = {record.name for record in records_of(self.central)}
                assert kind is Kind.EMAIL
                assert (Kind.SESSION, pair.correlation_id) in delivered
                return False
            if response.status == 200:
                answer = CaptureAnswer(
                    kind, pair.correlation_id, 200, 0, response.receipt, 0.0, 0.0
                )
                self.ledger.acknowledge(answer)
                return True
        return False


async def salvage(life: Life) -> None:
    """Wait until the damaged database is salvaged and delivered, if the faults allow that."""
    ends_at = time.monotonic() + PHASE_SECONDS
    while list_unfinished(life.state):
        if time.monotonic() > ends_at:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def capture(life: Life) -> None:
    """Let the tills serve their customers, all at once."""
    pairs = life.ledger.customers(TILLS * CUSTOMERS)

    async def till() -> None:
        for pair in pairs:
            await life.serve(pair)

    await asyncio.gather(*[till() for _ in range(TILLS)])


async def deliver(life: Life) -> None:
    """Wait until head office has everything; with faults it may take until after a restart."""
    with suppress(TimeoutError):
        await all_arrived(life, PHASE_SECONDS)


async def purge(life: Life) -> None:
    """Wait until a delivered capture is purged, if the faults allow that."""
    if life.ledger.acknowledged:
        _, first = next(iter(life.ledger.acknowledged))
        await answered(life.port, f"/agent/v1/sessions/{first}", 404, PHASE_SECONDS)


async def answered(port: int, path: str, status: int, seconds: float) -> bool:
    """Ask until the answer has this status; return False if it does not in time."""
    ends_at = time.monotonic() + seconds
    while (await get(port, path)).status != status:
        if time.monotonic() > ends_at:
            return False
        await asyncio.sleep(LOOK_SECONDS)
    return True


# What a life goes through; a further part of the store is one function more.
PHASES: Sequence[Callable[[Life], Awaitable[None]]] = [salvage, capture, deliver, purge, capture]


def require_shape(response: Response) -> None:
    """Fail unless an answer is one of the API: a success, or an error of three members."""
    if response.status == 200:
        assert response.receipt
        return
    assert response.status in {400, 503, 507}, response
    assert set(json.loads(response.body)) == SHAPE, response


async def all_arrived(life: Life, seconds: float) -> None:
    """Wait until head office has every acknowledged capture. Raises TimeoutError."""
    ends_at = time.monotonic() + seconds
    while True:
        there = {record.name for record in records_of(life.central)}
        if life.ledger.acknowledged.keys() <= there:
            return
        if time.monotonic() > ends_at:
            raise TimeoutError
        await asyncio.sleep(LOOK_SECONDS)


def settings_for(central: ScriptedCentral) -> dict[str, str]:
    """Return the settings of an agent that delivers and purges as soon as it can."""
    return {
        **delivering_to(central.url),
        "LOYALTY_AGENT__RETENTION__DELIVERED_DAYS": "0",
        "LOYALTY_AGENT__STORAGE__BALLAST_BYTES": str(1024 * 1024),
    }


def traced(state: Path, fault: Fault, number: int) -> tuple[str, ...]:
    """Return the program that runs the agent with the fault, on the files of `state` alone."""
    places = {state / QUARANTINE / name for name in list_quarantined(state)} | soon(state)
    files = [state / name for name in FILES]
    files += [place / name for place in sorted(places) for name in QUARANTINED_FILES]
    paths = [option for file in files for option in ("-P", str(file))]
    # A rename is known by its source, a scratch file; nothing else in the program renames.
    paths = [] if fault.calls == RENAME else paths
    when = f"inject={fault.calls}:error={fault.error}:when={number}+{fault.runs}"
    return (strace(), "-f", "-qq", "-o", "/dev/null", *paths, "-e", when, *PROGRAM)


def soon(state: Path) -> set[Path]:
    """Return the directories in which a database is quarantined in the next seconds."""
    now, seconds = datetime.now(UTC), int(QUARANTINED_WITHIN.total_seconds())
    times = [now + timedelta(seconds=number) for number in range(seconds)]
    return {state / QUARANTINE / at.strftime("%Y%m%dT%H%M%SZ") for at in times}


async def damaged(state: Path, ledger: TillLedger, central: ScriptedCentral) -> None:
    """Leave a damaged database with captures that head office has not."""
    settings = settings_for(central) | {"LOYALTY_AGENT__CENTRAL__URL": NO_HEAD_OFFICE}
    async with agent_process(state, settings=settings) as child:
        await capture(Life(await child.ready(), ledger, central, state))
        child.terminate()
        assert await child.exit_code(5.0) == 0
    with (state / "agent.db").open("r+b") as file:
        file.write(bytes(HEADER_BYTES))


async def live(life: Life, child: AgentProcess) -> bool:
    """Go through all phases; return False if the agent ended at its start, as it may once."""
    try:
        life.port = await child.port()
    except ProcessEndedError:
        return False
    await answered(life.port, "/readyz", 200, PHASE_SECONDS)
    for phase in PHASES:
        await phase(life)
    assert (await get(life.port, "/healthz")).status == 200, child.log_tail()
    return True


async def survive(state: Path, fault: Fault, number: int) -> None:
    """Live with the fault, end by SIGKILL, start without it; compare head office with the tills."""
    ledger = TillLedger()
    async with ScriptedCentral() as central:
        settings, life = settings_for(central), Life(0, ledger, central, state)
        await damaged(state, ledger, central)
        salvaged = set(ledger.acknowledged)
        for start in range(STARTS):
            # On a restart by systemd another call is the one that fails.
            program = traced(state, fault, number + start)
            async with agent_process(state, program=program, settings=settings) as child:
                if await live(life, child):
                    break
        else:
            pytest.fail(f"the agent does not start: {child.log_tail()}")
        async with agent_process(state, settings=settings) as child:
            life.port = await child.ready()
            await capture(life)
            await all_arrived(life, ARRIVAL_SECONDS)
        # Head office knows what was salvaged by another number than the tills.
        records = [
            replace(one, receipt=None) if one.name in salvaged else one
            for one in records_of(central)
        ]
        verdict = judge(ledger, records)
    assert verdict.is_clean, (verdict, child.log_tail())
    assert not ledger.contradictions
    assert ledger.acknowledged


@pytest.mark.campaign
@pytest.mark.parametrize(("fault", "number"), RUNS)
async def test_whatever_call_fails_nothing_acknowledged_is_lost(
    tmp_path: Path, fault: Fault, number: int
) -> None:
    await survive(tmp_path / "state", fault, number)

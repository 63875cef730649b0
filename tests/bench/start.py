"""Start-up and memory benchmark.

Prints figures without targets: the time from spawn to the first 200 to a session start, on an
empty database and on one with a backlog of undelivered events, and the agent's resident memory
when idle and during 100,000 captures.
"""

import asyncio
import compileall
import sqlite3
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from agent.store.crypto.vault import Vault, open_vault
from agent.store.db.transaction import transaction
from agent.store.files.disk_space import SpaceLimits
from agent.store.open import StoreOpener
from agent.store.store import StoreEnvironment
from sync.protocol.wire import EventType
from tests.support.agent.process import AgentProcess, agent_process
from tests.support.processes import ROOT
from tests.support.till.crowd import CaptureAnswer, Crowd
from tests.support.till.requests import Requests, fresh_pair, fresh_pairs, send_request

STARTS = 7
BACKLOG = 1_000_000
CAPTURES = 100_000
CAPTURES_PER_PROBE = 20_000
TILLS = 32
REQUESTS = Requests("127.0.0.1", 0)
ADD_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"
ADD_SESSION = "INSERT INTO session VALUES (?, ?, ?, ?)"
ADD_ANSWER = "INSERT INTO email_answer VALUES (?, ?, ?, ?, ?)"
_ROWS_AT_ONCE = 10_000
_SESSION_BODY = (
    b'{"correlationId":"%b","externalIdentifier":"POS-0007-0001234567",'
    b'"channel":"STORE","locale":"en-CA"}'
)


def fill(directory: Path, events: int) -> None:
    """Create a store with `events` undelivered events: sessions with an accepted address each."""
    now_us = time.time_ns() // 1000
    environment = StoreEnvironment(lambda: now_us, lambda: str(uuid.uuid4()), str(uuid.uuid4()))
    key_file = directory / "encryption.key"
    opener = StoreOpener(directory, key_file, SpaceLimits(2**60, 0, 0), environment)
    with closing(opener.open()) as store:
        pairs = rows_of(open_vault(key_file), events // 2, now_us)
        with transaction(store.connection):
            while chunk := list(islice(pairs, _ROWS_AT_ONCE)):
                insert_pairs(store.connection, chunk)


Pair = tuple[tuple[object, ...], ...]


def rows_of(vault: Vault, pairs: int, now_us: int) -> Iterator[Pair]:
    """Generate the rows of each customer: two events, a session and an answer, a minute apart."""
    for number in range(pairs):
        name, session, answer = str(uuid.uuid4()), 2 * number + 1, 2 * number + 2
        address = f"guest.{name[:16]}@example.com"
        at_us = now_us - (pairs - number) * 60_000_000
        yield (
            (session, EventType.SESSION_STARTED, session, at_us, at_us, 1, body_of(name)),
            (answer, EventType.EMAIL_ANSWERED, session, at_us, at_us, 1, b'{"status":"accepted"}'),
            (session, name, None, 0),
            (
                answer,
                session,
                "accepted",
                vault.encrypt(address, name),
                vault.digest(address, name),
            ),
        )


def body_of(name: str) -> bytes:
    """Return the body of a session start."""
    return _SESSION_BODY % name.encode()


def insert_pairs(connection: sqlite3.Connection, chunk: list[Pair]) -> None:
    """Insert the rows of the customers in `chunk`."""
    connection.executemany(ADD_EVENT, (row for pair in chunk for row in pair[:2]))
    connection.executemany(ADD_SESSION, (pair[2] for pair in chunk))
    connection.executemany(ADD_ANSWER, (pair[3] for pair in chunk))


async def seconds_to_first_answer(directory: Path) -> float:
    """Start the agent, capture a session, stop the agent; return the seconds to the answer."""
    started = time.monotonic()
    async with agent_process(directory) as child:
        answer = await send_request(await child.port(), REQUESTS.session(fresh_pair()))
        seconds = time.monotonic() - started
        if answer.status != 200:
            raise RuntimeError(f"the first answer was {answer}")
        child.terminate()
        await child.exit_code()
    return seconds


async def measure_starts(title: str, directory: Path) -> None:
    """Print the median of several starts, after an uncounted one, and the idle memory."""
    await seconds_to_first_answer(directory)
    times = [await seconds_to_first_answer(directory) for _ in range(STARTS)]
    async with agent_process(directory) as child:
        await send_request(await child.port(), REQUESTS.session(fresh_pair()))
        idle = resident_kib(child)
    print(
        f"{title}: start to first answer {statistics.median(times) * 1000:.0f} ms"
        f" (median of {STARTS}, {min(times) * 1000:.0f} to {max(times) * 1000:.0f}),"
        f" resident at idle {idle / 1024:.1f} MiB"
    )


async def measure_memory(directory: Path) -> None:
    """Print the resident memory during captures."""
    async with agent_process(directory) as child:
        probe = MemoryProbe(child)
        crowd = Crowd(
            "127.0.0.1",
            await child.ready(),
            pairs=fresh_pairs(CAPTURES // 2),
            on_acknowledged=probe.acknowledged,
        )
        print(f"before captures: resident {resident_kib(child) / 1024:.1f} MiB")
        await crowd.open(TILLS)
        await crowd.finished()


class MemoryProbe:
    """Prints the agent's memory every CAPTURES_PER_LOOK captures."""

    def __init__(self, child: AgentProcess) -> None:
        self._child = child
        self._captures = 0

    def acknowledged(self, answer: CaptureAnswer) -> None:
        """Count one capture."""
        del answer
        self._captures += 1
        if self._captures % CAPTURES_PER_PROBE == 0:
            resident = resident_kib(self._child) / 1024
            print(f"after {self._captures} captures: resident {resident:.1f} MiB", flush=True)


def resident_kib(child: AgentProcess) -> int:
    """Return the agent's resident memory (VmRSS)."""
    for measure_path in Path(f"/proc/{child.pid}/status").read_text().splitlines():
        if measure_path.startswith("VmRSS:"):
            return int(measure_path.split()[1])
    raise RuntimeError("/proc does not tell VmRSS")


async def measure_start(directory: Path, backlog: int) -> None:
    """Measure and print everything; databases are created in `directory`."""
    # Compile first, as an installed package is: otherwise a start takes much longer, and with
    # PYTHONDONTWRITEBYTECODE every start would compile.
    for package in ("agent", "sync"):
        compileall.compile_dir(ROOT / package, quiet=1)
    await measure_starts("empty database", directory / "empty")
    began = time.monotonic()
    await asyncio.to_thread(fill, directory / "full", backlog)
    print(f"a backlog of {backlog} events was made in {time.monotonic() - began:.0f} s")
    await measure_starts(f"{backlog} undelivered events", directory / "full")
    await measure_memory(directory / "memory")

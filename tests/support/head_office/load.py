"""Agents that put load on head office, and a check that it kept every acknowledged event.

Each agent sends one batch at a time. The next batch begins a few events before the last
acknowledged one: answers may be lost, but the content of an event never changes.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from sync.protocol.wire import BATCHES_PATH
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.config import DATABASE_FILE
from sync.receiver.db.database import Database
from sync.receiver.db.sqlite import SqliteFile
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.messages import Members, SimulatedAgent, answer, session
from tests.support.head_office.postgresql import rows_at
from tests.support.sqlite import rows_in

_KEPT = """
SELECT store_id, till_id, sequence, correlation_id, NULL FROM sessions
UNION ALL
SELECT store_id, till_id, sequence, correlation_id, email_address FROM email_answers
ORDER BY store_id, till_id, sequence
"""
_ACCEPTED = "SELECT store_id, till_id, accepted_through FROM agents"
_REFUSED = """
SELECT store_id, till_id, sequence FROM rejections
UNION ALL
SELECT store_id, till_id, sequence FROM duplicates
"""
_MAX_EVENTS = 60


def event(sender: SimulatedAgent, sequence: int) -> Members:
    """Return the event with this sequence: a session, or the answer to the session before it."""
    name = f"{sender.till_id}-{(sequence + 1) // 2}"
    if sequence % 2:
        return session(sequence, name)
    return answer(sequence, name, f"{name}@example.com")


@dataclass(slots=True)
class LoadAgent:
    """One agent. `acknowledged` is the highest sequence that head office acknowledged.

    `retry_after_values` holds the Retry-After in seconds of each 503.
    """

    sender: SimulatedAgent
    token: str
    rng: random.Random
    acknowledged: int = 0
    wrong: list[str] = field(default_factory=list)
    retry_after_values: list[str] = field(default_factory=list)

    async def run(self, port: int, on_acknowledged: Callable[[], None]) -> None:
        """Send until the connection breaks or an unexpected answer arrives."""
        timeout = aiohttp.ClientTimeout(total=30)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as client:
                while await self.send_once(client, port):
                    on_acknowledged()
        except aiohttp.ClientError:
            return

    async def send_once(self, client: aiohttp.ClientSession, port: int) -> bool:
        """Send the next batch and record its answer; return whether it was acknowledged."""
        first = max(1, self.acknowledged + 1 - self.rng.randint(0, 5))
        last = self.acknowledged + self.rng.randint(1, _MAX_EVENTS)
        events = [event(self.sender, number) for number in range(first, last + 1)]
        url = f"http://127.0.0.1:{port}{BATCHES_PATH}"
        headers = {"Authorization": f"Bearer {self.token}"}
        body = self.sender.batch(*events)
        async with client.post(url, data=body, headers=headers) as response:
            answered = await response.json()
        if response.status == 503 and "Retry-After" in response.headers:
            self.retry_after_values.append(response.headers["Retry-After"])
            return False
        if response.status != 200 or answered["rejected"] or answered["acceptedThrough"] < last:
            self.wrong.append(f"{response.status} {answered}")
            return False
        self.acknowledged = max(self.acknowledged, answered["acceptedThrough"])
        return True

    def compare(self, kept_of_all: "StoredRows") -> list[str]:
        """Return the differences between acknowledged and kept events; empty if all were kept."""
        named = (self.sender.store_id, self.sender.till_id)
        kept = [row[2:] for row in kept_of_all.events if row[:2] == named]
        accepted = next((row[2] for row in kept_of_all.accepted if row[:2] == named), 0)
        assert isinstance(accepted, int)
        expected = [self._row(number) for number in range(1, accepted + 1)]
        found = list(self.wrong)
        if accepted < self.acknowledged:
            found.append(f"{named}: {self.acknowledged} acknowledged, {accepted} there")
        if kept != expected:
            found.append(f"{named}: {len(kept)} rows for {accepted} numbers")
        return found

    def _row(self, number: int) -> tuple[object, ...]:
        sent = event(self.sender, number)
        body = sent["body"]
        assert isinstance(body, dict)
        return (number, sent["correlationId"], body.get("emailAddress"))


async def enroll_at(
    directory: Path, senders: Sequence[SimulatedAgent], rng: random.Random
) -> list[LoadAgent]:
    """Enroll agents at the head office in `directory`, running or not."""
    return await enroll_on(SqliteFile(directory / DATABASE_FILE), senders, rng)


async def enroll_on(
    database: Database, senders: Sequence[SimulatedAgent], rng: random.Random
) -> list[LoadAgent]:
    """Enroll agents in `database`; open it for this and close it again."""
    await database.open()
    enrolment = Enrolment(database)
    tokens = [await issue_token(enrolment, sender.name, rng.randbytes(32)) for sender in senders]
    await database.close()
    return [LoadAgent(sender, token, rng) for sender, token in zip(senders, tokens, strict=True)]


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Everything that a head office stores of all agents."""

    events: list[tuple[object, ...]]
    accepted: list[tuple[object, ...]]
    refused: list[tuple[object, ...]]


def stored_in(database: Path) -> StoredRows:
    """Read a SQLite file."""
    return StoredRows(*(rows_in(database, query) for query in (_KEPT, _ACCEPTED, _REFUSED)))


async def stored_at(url: str) -> StoredRows:
    """Read a PostgreSQL database."""
    return StoredRows(*[await rows_at(url, query) for query in (_KEPT, _ACCEPTED, _REFUSED)])


def findings(agents: Sequence[LoadAgent], kept: StoredRows) -> list[str]:
    """Return every difference between acknowledged events and a receiver's tables."""
    found = [wrong for agent in agents for wrong in agent.compare(kept)]
    return found + [f"refused or doubled: {row}" for row in kept.refused]


@dataclass(slots=True)
class RunningLoad:
    """All feeders sending to one receiver."""

    tasks: list[asyncio.Task[None]]
    any_acknowledged: asyncio.Event

    async def finished(self) -> None:
        """Wait until all feeders have ended."""
        await asyncio.gather(*self.tasks)


def start_load(agents: Sequence[LoadAgent], port: int) -> RunningLoad:
    """Start all feeders; each sends until something stops it."""
    news = asyncio.Event()
    tasks = [asyncio.ensure_future(agent.run(port, news.set)) for agent in agents]
    return RunningLoad(tasks, news)

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
from tests.support.head_office.messages import AT, Members, Sender, answer, session
from tests.support.head_office.postgresql import rows_at
from tests.support.head_office.receiver import rows_in

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
_MOST = 60


def event(sender: Sender, sequence: int) -> Members:
    """Return the event with this sequence: a session, or the answer to the session before it."""
    name = f"{sender.till_id}-{(sequence + 1) // 2}"
    if sequence % 2:
        return session(sequence, name)
    return answer(sequence, name, f"{name}@example.com")


@dataclass(slots=True)
class Feeder:
    """One agent. `acknowledged` is the highest sequence that head office acknowledged.

    `put_off` holds the Retry-After in seconds of each 503.
    """

    sender: Sender
    token: str
    dice: random.Random
    acknowledged: int = 0
    wrong: list[str] = field(default_factory=list)
    put_off: list[str] = field(default_factory=list)

    async def feed(self, port: int, on_acknowledged: Callable[[], None]) -> None:
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
        first = max(1, self.acknowledged + 1 - self.dice.randint(0, 5))
        last = self.acknowledged + self.dice.randint(1, _MOST)
        events = [event(self.sender, number) for number in range(first, last + 1)]
        url = f"http://127.0.0.1:{port}{BATCHES_PATH}"
        headers = {"Authorization": f"Bearer {self.token}"}
        body = self.sender.batch(*events)
        async with client.post(url, data=body, headers=headers) as response:
            answered = await response.json()
        if response.status == 503 and "Retry-After" in response.headers:
            self.put_off.append(response.headers["Retry-After"])
            return False
        if response.status != 200 or answered["rejected"] or answered["acceptedThrough"] < last:
            self.wrong.append(f"{response.status} {answered}")
            return False
        self.acknowledged = max(self.acknowledged, answered["acceptedThrough"])
        return True

    def compare(self, kept_of_all: "Kept") -> list[str]:
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


async def feeders_at(
    directory: Path, senders: Sequence[Sender], dice: random.Random
) -> list[Feeder]:
    """Enroll agents at the head office in `directory`, running or not."""
    return await feeders_on(SqliteFile(directory / DATABASE_FILE), senders, dice)


async def feeders_on(
    database: Database, senders: Sequence[Sender], dice: random.Random
) -> list[Feeder]:
    """Enroll agents in `database`; open it for this and close it again."""
    await database.open()
    enrolment = Enrolment(database)
    tokens = [await enrolment.enroll(sender.name, dice.randbytes(32), AT) for sender in senders]
    await database.close()
    return [Feeder(sender, token, dice) for sender, token in zip(senders, tokens, strict=True)]


@dataclass(frozen=True, slots=True)
class Kept:
    """Everything that a head office stores of all agents."""

    events: list[tuple[object, ...]]
    accepted: list[tuple[object, ...]]
    refused: list[tuple[object, ...]]


def kept_in(database: Path) -> Kept:
    """Read a SQLite file."""
    return Kept(*(rows_in(database, query) for query in (_KEPT, _ACCEPTED, _REFUSED)))


async def kept_at(url: str) -> Kept:
    """Read a PostgreSQL database."""
    return Kept(*[await rows_at(url, query) for query in (_KEPT, _ACCEPTED, _REFUSED)])


def findings(feeders: Sequence[Feeder], kept: Kept) -> list[str]:
    """Return every difference between acknowledged events and a receiver's tables."""
    found = [wrong for feeder in feeders for wrong in feeder.compare(kept)]
    return found + [f"refused or doubled: {row}" for row in kept.refused]


@dataclass(slots=True)
class Rush:
    """All feeders sending to one receiver."""

    tasks: list[asyncio.Task[None]]
    any_acknowledged: asyncio.Event

    async def over(self) -> None:
        """Wait until all feeders have ended."""
        await asyncio.gather(*self.tasks)


def rush(feeders: Sequence[Feeder], port: int) -> Rush:
    """Start all feeders; each sends until something stops it."""
    news = asyncio.Event()
    tasks = [asyncio.ensure_future(feeder.feed(port, news.set)) for feeder in feeders]
    return Rush(tasks, news)

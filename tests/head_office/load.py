"""Agents that keep head office busy, and what they were promised.

Each sends its batches one after the other, and begins the next round a little before what was
acknowledged last: its answers may be lost, its content never changes.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from sync.receiver.config import DATABASE_FILE
from sync.receiver.enrolment import Enrolment
from sync.receiver.sqlite_file import SqliteFile
from sync.wire import BATCHES_PATH
from tests.head_office.receiver import rows_in
from tests.head_office.sender import AT, Members, Sender, answer, session

_KEPT = """
SELECT store_id, till_id, sequence, correlation_id, NULL FROM sessions
UNION ALL
SELECT store_id, till_id, sequence, correlation_id, email_address FROM email_answers
ORDER BY store_id, till_id, sequence
"""
_ACCEPTED = "SELECT accepted_through FROM agents WHERE store_id = '{}' AND till_id = '{}'"
_MOST = 60


def event(sender: Sender, sequence: int) -> Members:
    """Return what the agent has under this number: a session, or the answer to the one before."""
    name = f"{sender.till_id}-{(sequence + 1) // 2}"
    if sequence % 2:
        return session(sequence, name)
    return answer(sequence, name, f"{name}@example.com")


@dataclass(slots=True)
class Feeder:
    """One agent. `acknowledged` is how far head office has said to have it."""

    sender: Sender
    token: str
    dice: random.Random
    acknowledged: int = 0
    wrong: list[str] = field(default_factory=list)

    async def feed(self, port: int, on_acknowledged: Callable[[], None]) -> None:
        """Send until the line breaks."""
        timeout = aiohttp.ClientTimeout(total=30)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as client:
                while True:
                    await self.send_once(client, port)
                    on_acknowledged()
        except aiohttp.ClientError:
            return

    async def send_once(self, client: aiohttp.ClientSession, port: int) -> None:
        """Send the next batch; note its answer."""
        first = max(1, self.acknowledged + 1 - self.dice.randint(0, 5))
        last = self.acknowledged + self.dice.randint(1, _MOST)
        events = [event(self.sender, number) for number in range(first, last + 1)]
        url = f"http://127.0.0.1:{port}{BATCHES_PATH}"
        headers = {"Authorization": f"Bearer {self.token}"}
        body = self.sender.batch(*events)
        async with client.post(url, data=body, headers=headers) as response:
            answered = await response.json()
        if response.status != 200 or answered["rejected"] or answered["acceptedThrough"] < last:
            self.wrong.append(f"{response.status} {response.headers.get('Retry-After')} {answered}")
            return
        self.acknowledged = max(self.acknowledged, answered["acceptedThrough"])

    def compare(self, database: Path) -> list[str]:
        """Say what does not agree with what was acknowledged; empty where all was kept."""
        named = (self.sender.store_id, self.sender.till_id)
        kept = [row[2:] for row in rows_in(database, _KEPT) if row[:2] == named]
        ((accepted,),) = rows_in(database, _ACCEPTED.format(*named)) or [(0,)]
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
    """Enroll agents at the head office of `directory`, which need not run."""
    database = SqliteFile(directory / DATABASE_FILE)
    await database.open()
    enrolment = Enrolment(database)
    tokens = [await enrolment.enroll(sender.name, dice.randbytes(32), AT) for sender in senders]
    await database.close()
    return [Feeder(sender, token, dice) for sender, token in zip(senders, tokens, strict=True)]


def findings(feeders: Sequence[Feeder], database: Path) -> list[str]:
    """Hold every promise against the database of a receiver that has ended."""
    found = [wrong for feeder in feeders for wrong in feeder.compare(database)]
    refused = rows_in(database, "SELECT * FROM rejections") + rows_in(
        database, "SELECT * FROM doubles"
    )
    return found + [f"refused or doubled: {row}" for row in refused]


@dataclass(slots=True)
class Rush:
    """All feeders at work on one receiver."""

    tasks: list[asyncio.Task[None]]
    any_acknowledged: asyncio.Event

    async def over(self) -> None:
        """Wait until the line broke for all of them."""
        await asyncio.gather(*self.tasks)


def rush(feeders: Sequence[Feeder], port: int) -> Rush:
    """Have the feeders send until the line breaks."""
    news = asyncio.Event()
    tasks = [asyncio.ensure_future(feeder.feed(port, news.set)) for feeder in feeders]
    return Rush(tasks, news)

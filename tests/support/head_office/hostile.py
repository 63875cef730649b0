"""One enrolled agent at full force against a receiver on this machine: each kind of attack.

`python -m tests.support.head_office.hostile PORT TOKEN SECONDS ATTACK...` runs the attacks at the
same time and prints the number of answers by attack and status as JSON.
"""

import asyncio
import json
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count

import aiohttp
import zstandard

from sync.protocol.wire import BATCHES_PATH, HEARTBEATS_PATH
from tests.support.head_office.messages import SimulatedAgent, answer, session

HOSTILE = SimulatedAgent("0666", "till-1")
MIB = 2**20
_TIMEOUT = aiohttp.ClientTimeout(total=120)
# An attack asks again at once; a connection that the receiver closed, after this.
_PAUSE_SECONDS = 0.01


@dataclass(slots=True)
class Attacker:
    """Sends as `HOSTILE` until `deadline`; `answers` counts by attack and status."""

    port: int
    token: str
    client: aiohttp.ClientSession
    deadline: float
    answers: Counter[str] = field(default_factory=Counter)

    async def post(
        self, attack: str, path: str, body: bytes, *, token: str | None = None, encoding: str = ""
    ) -> int:
        """Send a request; return its status, 0 if the connection broke."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        if encoding:
            headers["Content-Encoding"] = encoding
        status = 0
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            async with self.client.post(url, data=body, headers=headers) as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            await asyncio.sleep(_PAUSE_SECONDS)
        self.answers[f"{attack} {status}"] += 1
        return status

    async def repeat(self, once: Callable[[], Awaitable[object]], workers: int) -> None:
        """Call `once` again and again in each of `workers` tasks."""

        async def work() -> None:
            while asyncio.get_running_loop().time() < self.deadline:
                await once()

        await asyncio.gather(*(work() for _ in range(workers)))


async def huge_batches(attacker: Attacker) -> None:
    """Send batches of 2,000 and of 10,000 answers to one session."""
    epoch = str(uuid.uuid4())
    sender = SimulatedAgent(HOSTILE.store_id, HOSTILE.till_id, epoch)
    start = sender.batch(session(1, epoch))
    await attacker.post("huge", BATCHES_PATH, start)
    through, size = 1, 2000

    async def once() -> None:
        nonlocal through, size
        events = [
            answer(through + 1 + n, epoch, f"guest{through + n}@example.com") for n in range(size)
        ]
        body = zstandard.compress(sender.batch(*events))
        if await attacker.post("huge", BATCHES_PATH, body, encoding="zstd") == 200:
            through, size = through + size, 10_000

    await attacker.repeat(once, 1)


async def new_epochs(attacker: Attacker) -> None:
    """Name a new epoch and a new boot in each batch, and a thousand epochs in each heartbeat."""

    async def batch() -> None:
        name = str(uuid.uuid4())
        sender = SimulatedAgent(HOSTILE.store_id, HOSTILE.till_id, name)
        body = sender.batch(session(1, name), bootId=name, sentMonotonicUs=5_000_000)
        await attacker.post("epochs", BATCHES_PATH, body)

    async def heartbeat() -> None:
        epochs = [
            {"epoch": str(uuid.uuid4()), "lastSequence": 1, "baseSequence": 1} for _ in range(1000)
        ]
        body = HOSTILE.heartbeat(epochs=epochs, bootId=str(uuid.uuid4()))
        await attacker.post("epochs", HEARTBEATS_PATH, body)

    await asyncio.gather(attacker.repeat(batch, 4), attacker.repeat(heartbeat, 2))


async def refused(attacker: Attacker) -> None:
    """Send requests to refuse: malformed, foreign, with a gap, too large, too many at once."""
    foreign = SimulatedAgent("0001", "till-1")
    lost = {"Authorization": "lost"}
    bodies = (
        b"{",
        foreign.batch(session(1)),
        HOSTILE.batch(session(5_000)),
        HOSTILE.batch(*({**session(1), "type": "unknown", "sequence": n} for n in range(1, 500))),
    )
    turns = count()

    async def once() -> None:
        turn = next(turns)
        await attacker.post("refused", BATCHES_PATH, bodies[turn % len(bodies)])

    async def forged() -> None:
        token = attacker.token[:-4] + lost["Authorization"]
        await attacker.post("forged", BATCHES_PATH, b"{}", token=token)

    await asyncio.gather(attacker.repeat(once, 40), attacker.repeat(forged, 10))


async def bombs(attacker: Attacker) -> None:
    """Send small bodies that decompress to 64 MiB, and JSON of nothing but commas."""
    zeros = zstandard.compress(bytes(64 * MIB))
    commas = zstandard.compress(b'{"events":[' + b"0," * (16 * MIB))
    large = {"correlationId": "large", "channel": "x" * (60 * MIB)}
    body = zstandard.compress(HOSTILE.batch(session(1, "large", body=large)))
    turns = count()

    async def once() -> None:
        bomb = (zeros, commas, body)[next(turns) % 3]
        await attacker.post("bombs", BATCHES_PATH, bomb, encoding="zstd")

    await attacker.repeat(once, 8)


async def slow_connections(attacker: Attacker) -> None:
    """Hold hundreds of connections: silent ones, dripping heads, announced bodies of 15 MiB."""
    bearer = f"Authorization: Bearer {attacker.token}"
    announced = (
        f"POST {BATCHES_PATH} HTTP/1.1\r\nHost: hq\r\n{bearer}\r\nContent-Length: {64 * MIB}"
    )
    kinds = (b"", b"POST / HTTP/1.1\r\nX: ", f"{announced}\r\n\r\n".encode())
    turns = count()

    async def once() -> None:
        sent = kinds[next(turns) % len(kinds)]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", attacker.port)
        except OSError:
            await asyncio.sleep(_PAUSE_SECONDS)
            return
        attacker.answers["slow connections"] += 1
        try:
            writer.write(sent)
            while asyncio.get_running_loop().time() < attacker.deadline:
                await asyncio.sleep(1)
                if sent:
                    writer.write(b"a")
                await writer.drain()
                if writer.transport.is_closing():
                    break
        except OSError:
            pass
        finally:
            writer.transport.abort()

    await attacker.repeat(once, 600)


ATTACKS = {
    "huge": huge_batches,
    "epochs": new_epochs,
    "refused": refused,
    "bombs": bombs,
    "slow": slow_connections,
}


async def attack(port: int, token: str, seconds: float, names: list[str]) -> Counter[str]:
    """Run the attacks at the same time; return the answers by attack and status."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as client:
        deadline = asyncio.get_running_loop().time() + seconds
        attacker = Attacker(port, token, client, deadline)
        try:
            async with asyncio.timeout(seconds + 2):
                await asyncio.gather(*(ATTACKS[name](attacker) for name in names))
        except TimeoutError:
            attacker.answers["unanswered at the end"] += 1
        return attacker.answers


if __name__ == "__main__":
    _, its_port, its_token, its_seconds, *its_names = sys.argv
    counted = asyncio.run(attack(int(its_port), its_token, float(its_seconds), its_names))
    print(json.dumps(counted))

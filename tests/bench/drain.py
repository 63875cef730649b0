"""Delivery benchmark: draining a backlog to head office.

Each figure has its limit from the same round: batch delivery, the same bytes posted without
outbox and ledger; replay, sessions in flight divided by the latency; the tills' p99 during
delivery, their p99 without delivery.
"""

import asyncio
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec

from agent.drill.processes import prepare_receiver
from sync.protocol.wire import BATCHES_PATH
from tests.bench.servers import is_ready, stop
from tests.bench.start import fill
from tests.support.agent.process import AgentProcess, agent_process
from tests.support.processes import ROOT, free_port
from tests.support.till.tally import Load

MAX_IN_FLIGHT = 32
LATENCY_SECONDS = 0.02
TILLS = 8
TILL_SECONDS = 2.0
STORE = {"LOYALTY_AGENT__STORE__STORE_ID": "bench", "LOYALTY_AGENT__STORE__TILL_ID": "bench"}
# No delivery until it is requested.
NO_DELIVERY = {"LOYALTY_AGENT__SYNC__QUIET_HOURS": "00:00-23:59"}
# Batch size for a store without tills to serve meanwhile.
LARGE = {"LOYALTY_AGENT__SYNC__BATCH_EVENTS": "500"}
_HEADERS = {"Content-Type": "application/json", "Content-Encoding": "zstd"}


class Plan(NamedTuple):
    """Sizes of the backlogs in events, and number of rounds."""

    events: int
    replayed: int
    rounds: int


class Rates(NamedTuple):
    """Events per second of one protocol and of its limit, by round."""

    name: str
    target: float
    rates: list[float]
    limits: list[float]


class Latencies(NamedTuple):
    """The tills' p99 in ms by round: without delivery, at the default pace, at full speed."""

    idle: list[float]
    default_pace: list[float]
    full_speed: list[float]


async def measure_drain(directory: Path, plan: Plan) -> None:
    """Measure and print everything; databases are created in `directory`."""
    backlog, replayed = directory / "backlog", directory / "replayed"
    await asyncio.to_thread(fill, backlog, plan.events)
    await asyncio.to_thread(fill, replayed, plan.replayed)
    print_rates(await batch_rates(directory, backlog, plan))
    print_rates(await replay_rates(directory, replayed, plan))
    print_latencies(await till_latencies(directory, backlog, plan))


async def batch_rates(directory: Path, backlog: Path, plan: Plan) -> Rates:
    """Deliver to the receiver on SQLite, and post the same bytes to a sink."""
    bodies = await recorded_bodies(directory, backlog)
    rates, limits = [], []
    for number in range(plan.rounds):
        with running_peer("sink") as port:
            limits.append(plan.events / await seconds_to_post(port, bodies))
        async with running_receiver(directory / f"receiver-{number}") as central:
            rates.append(plan.events / await seconds_to_drain(directory, backlog, central | LARGE))
    return Rates("batch to the receiver on SQLite / the same bytes", 0.5, rates, limits)


async def replay_rates(directory: Path, backlog: Path, plan: Plan) -> Rates:
    """Deliver by replay to an endpoint with latency."""
    settings = {
        "LOYALTY_AGENT__CENTRAL__PROTOCOL": "replay",
        "LOYALTY_AGENT__SYNC__MAX_IN_FLIGHT": str(MAX_IN_FLIGHT),
    }
    with running_peer("distant", "--latency", str(LATENCY_SECONDS)) as port:
        central = {"LOYALTY_AGENT__CENTRAL__URL": f"http://127.0.0.1:{port}"} | settings
        rates = [
            plan.replayed / await seconds_to_drain(directory, backlog, central)
            for _ in range(plan.rounds)
        ]
    limit = MAX_IN_FLIGHT / LATENCY_SECONDS
    return Rates("replay, 32 in flight / 20 ms of latency", 0.8, rates, [limit] * plan.rounds)


async def till_latencies(directory: Path, backlog: Path, plan: Plan) -> Latencies:
    """Measure the tills' p99 without delivery, and during delivery at either pace."""
    latencies = Latencies([], [], [])
    for _ in range(plan.rounds):
        for found, query in (
            (latencies.idle, None),
            (latencies.default_pace, ""),
            (latencies.full_speed, "?pace=full"),
        ):
            found.append(await p99_while_draining(directory, backlog, query))
    return latencies


async def p99_while_draining(directory: Path, backlog: Path, query: str | None) -> float:
    """Return the tills' p99 in ms while the backlog is delivered; None as `query`: no delivery.

    In production head office is another machine, so the cheapest peer stands in for it here.
    """
    with running_peer("sink") as port:
        central = {"LOYALTY_AGENT__CENTRAL__URL": f"http://127.0.0.1:{port}"}
        async with running_agent(directory, backlog, central) as child:
            agent = await child.ready()
            if query is not None:
                await request_delivery(agent, query)
            return (await asyncio.to_thread(run_tills, agent)).p99_ms


async def recorded_bodies(directory: Path, backlog: Path) -> list[bytes]:
    """Return the bodies of all batches, recorded by a sink."""
    kept = directory / "bodies"
    kept.mkdir()
    with running_peer("sink", "--record", str(kept)) as port:
        central = {"LOYALTY_AGENT__CENTRAL__URL": f"http://127.0.0.1:{port}"}
        await seconds_to_drain(directory, backlog, central | LARGE)
    return [file.read_bytes() for file in sorted(kept.iterdir())]


async def seconds_to_post(port: int, bodies: list[bytes]) -> float:
    """Post the bodies one after the other; return the elapsed seconds."""
    url = f"http://127.0.0.1:{port}{BATCHES_PATH}"
    async with aiohttp.ClientSession() as session:
        started = time.monotonic()
        for body in bodies:
            async with session.post(url, data=body, headers=_HEADERS) as answer:
                await answer.read()
        return time.monotonic() - started


async def seconds_to_drain(directory: Path, backlog: Path, central: dict[str, str]) -> float:
    """Deliver a copy of the backlog at full speed; return the seconds from request to end."""
    async with running_agent(directory, backlog, central) as child:
        port = await child.ready()
        await child.wait_for_log("delivery.quiet_hours")
        started = time.monotonic()
        await request_delivery(port, "?pace=full")
        await child.wait_for_log("delivery.idle")
        return time.monotonic() - started


@asynccontextmanager
async def running_agent(
    directory: Path, backlog: Path, central: dict[str, str]
) -> AsyncIterator[AgentProcess]:
    """Run an agent on a copy of the backlog."""
    state = directory / "state"
    shutil.copytree(backlog, state)
    try:
        async with agent_process(state, settings=STORE | NO_DELIVERY | central) as child:
            yield child
    finally:
        shutil.rmtree(state)


@asynccontextmanager
async def running_receiver(directory: Path) -> AsyncIterator[dict[str, str]]:
    """Run a receiver; yield the settings of an agent that delivers to it."""
    receiver = prepare_receiver(directory)
    token_file = directory.with_suffix(".token")
    token_file.touch(mode=0o600)
    token_file.write_text(await receiver.output_of("enroll", "bench", "bench"))
    serving = await receiver.start("serve", "hq.serving")
    try:
        yield {
            "LOYALTY_AGENT__CENTRAL__URL": f"http://127.0.0.1:{serving['port']}",
            "LOYALTY_AGENT__CENTRAL__AUTH__KIND": "bearer",
            "LOYALTY_AGENT__CENTRAL__AUTH__TOKEN_FILE": str(token_file),
        }
    finally:
        await receiver.stop()


@contextmanager
def running_peer(name: str, *arguments: str) -> Iterator[int]:
    """Run a peer that stores nothing; yield its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.bench.peers.{name}", "--port", str(port), *arguments],
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not is_ready(port):
            if time.monotonic() > deadline:
                raise RuntimeError("the peer did not become ready")
            time.sleep(0.05)
        yield port
    finally:
        stop(process)


async def request_delivery(port: int, query: str) -> None:
    """Request immediate delivery from the agent."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/agent/v1/sync{query}") as answer,
    ):
        answer.raise_for_status()


def run_tills(port: int) -> Load:
    """Put the agent under load from tills in a separate process."""
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "tests.support.till", "--port", str(port), "--receipts"),
            *("--connections", str(TILLS), "--seconds", str(TILL_SECONDS)),
            *("--warm-up-seconds", "0.3"),
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(finished.stdout, type=Load)


def print_rates(rates: Rates) -> None:
    """Print medians and the median ratio of the rounds."""
    ratios = [rate / limit for rate, limit in zip(rates.rates, rates.limits, strict=True)]
    print(
        f"{rates.name}: {statistics.median(rates.rates):,.0f} / "
        f"{statistics.median(rates.limits):,.0f} events/s = {statistics.median(ratios):.2f}"
        f" (rounds {', '.join(f'{ratio:.2f}' for ratio in ratios)}; target {rates.target})",
        flush=True,
    )


def print_latencies(latencies: Latencies) -> None:
    """Print p99 during delivery as a ratio to p99 without delivery."""
    idle = statistics.median(latencies.idle)
    print(f"tills' p99, {TILLS} of them, nothing going out: {idle:.2f} ms")
    for name, target, p99s in (
        ("at the default pace", 1.5, latencies.default_pace),
        ("at full speed", 2.5, latencies.full_speed),
    ):
        ratios = [p99 / before for p99, before in zip(p99s, latencies.idle, strict=True)]
        print(
            f"  a backlog {name}: {statistics.median(p99s):.2f} ms, "
            f"{statistics.median(ratios):.2f} times"
            f" (rounds {', '.join(f'{ratio:.2f}' for ratio in ratios)}; target {target})"
        )

"""Capture benchmark: interleaved rounds, in which each server is under load in turn.

All servers run throughout, each on its own port and database; only one at a time is under load.
The tills run in a separate process, so that they share no interpreter lock with a server.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.bench.figures import Disk, Turn
from tests.bench.progress import Progress
from tests.bench.servers import Kind, Server, running
from tests.support.processes import ROOT
from tests.support.till.tally import Load

SETTLE_SECONDS = 0.1
"""Pause between turns, so that one server's trailing work does not slow the next one."""
GRACE_SECONDS = 90.0
"""Time for the last answers, beyond the measured time."""


class Plan(NamedTuple):
    """Parameters of a run."""

    rounds: int
    seconds: float
    warm_up_seconds: float
    connections: tuple[int, ...]
    servers: tuple[Kind, ...]

    @property
    def turns(self) -> int:
        """Return the number of turns on one disk."""
        return self.rounds * len(self.connections) * len(self.servers)


class LoadError(RuntimeError):
    """The tills' process failed or timed out."""


def measure(
    plan: Plan, disk: Disk, directory: Path, environment: Mapping[str, str], progress: Progress
) -> list[Turn]:
    """Run all rounds on one disk. Raises ServerError, LoadError."""
    with ExitStack() as stack:
        servers = {
            kind: stack.enter_context(running(kind, directory / kind, environment))
            for kind in plan.servers
        }
        return [
            progress.took(take_turn(plan, disk, position, servers)) for position in positions(plan)
        ]


class Position(NamedTuple):
    """Server, connections and round of a turn."""

    round_number: int
    connections: int
    server: Kind


def positions(plan: Plan) -> Iterator[Position]:
    """Order the turns; rotate the servers by round, so that their order does not matter."""
    for round_number in range(plan.rounds):
        first = round_number % len(plan.servers)
        order = plan.servers[first:] + plan.servers[:first]
        for connections in plan.connections:
            for server in order:
                yield Position(round_number, connections, server)


def take_turn(plan: Plan, disk: Disk, position: Position, servers: Mapping[Kind, Server]) -> Turn:
    """Put one server under load; measure the CPU time of all servers."""
    time.sleep(SETTLE_SECONDS)
    before = {kind: server.cpu_seconds() for kind, server in servers.items()}
    started = time.monotonic()
    load = ask(plan, position, servers[position.server])
    took = time.monotonic() - started
    used = {kind: since(before[kind], server.cpu_seconds()) for kind, server in servers.items()}
    busy = used.pop(position.server)
    return Turn(
        disk,
        *position,
        load=load,
        server_cpu_seconds=busy,
        idle_cpu_share=max((share or 0.0 for share in used.values()), default=0.0) / took,
    )


def since(before: float | None, after: float | None) -> float | None:
    """Return the difference; None if either value is unknown."""
    return None if before is None or after is None else after - before


def ask(plan: Plan, position: Position, server: Server) -> Load:
    """Run tills against the server in a separate process. Raises LoadError."""
    command = [
        *(sys.executable, "-m", "tests.support.till", "--port", str(server.port)),
        *("--connections", str(position.connections), "--seconds", str(plan.seconds)),
        *("--warm-up-seconds", str(plan.warm_up_seconds)),
        *(["--receipts"] if server.kind is Kind.AGENT else []),
    ]
    try:
        finished = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=plan.seconds + plan.warm_up_seconds + GRACE_SECONDS,
        )
        return msgspec.json.decode(finished.stdout, type=Load)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{server.kind} left tills without an answer: {error}") from error
    except msgspec.DecodeError as error:
        raise LoadError(
            f"The tills failed against {server.kind}: {finished.stderr.decode(errors='replace')}"
            f"\n{server.output_tail()}"
        ) from error

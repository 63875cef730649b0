"""Results of the capture benchmark: turns, medians, ratios and targets."""

from collections.abc import Iterable
from enum import StrEnum
from statistics import median
from typing import NamedTuple

from tests.bench.servers import Kind
from tests.support.till.tally import Load


class Disk(StrEnum):
    """Disk of the databases: the machine's own, or one with 4 ms added to each sync."""

    OWN = "own"
    SLOW = "slow"


class Turn(NamedTuple):
    """Result of one server under load once."""

    disk: Disk
    round_number: int
    connections: int
    server: Kind
    load: Load
    server_cpu_seconds: float | None
    idle_cpu_share: float
    """CPU share of the busiest server that was not under load."""

    @property
    def pairs_per_second(self) -> float:
        """Return the rate of the turn."""
        return self.load.pairs / self.load.seconds

    @property
    def server_cpu_us_per_pair(self) -> float:
        """Return the server's CPU time per pair, warm-up included in both."""
        return 1e6 * (self.server_cpu_seconds or 0.0) / max(1, self.load.pairs_with_warm_up)


class Comparison(NamedTuple):
    """Comparison of two servers at one number of connections on one disk."""

    disk: Disk
    connections: int
    server: Kind
    reference: Kind


class Ratio(NamedTuple):
    """Ratio of the pairs per second of two servers; NaN if the other has none."""

    comparison: Comparison
    of_medians: float
    median_of_rounds: float
    target: float | None

    @property
    def verdict(self) -> str:
        """Return "met" or "missed"; empty without a target."""
        if self.target is None:
            return ""
        return "met" if self.of_medians >= self.target else "missed"


class Summary(NamedTuple):
    """Medians of one server's turns at one number of connections on one disk."""

    disk: Disk
    connections: int
    server: Kind
    pairs_per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_us_per_pair: float
    till_cpu_us_per_request: float


TARGETS = {
    Comparison(Disk.OWN, 64, Kind.AGENT, Kind.BARE): 0.60,
    Comparison(Disk.OWN, 64, Kind.AGENT, Kind.FASTAPI): 12.0,
    Comparison(Disk.OWN, 8, Kind.AGENT, Kind.BARE): 0.35,
    Comparison(Disk.SLOW, 64, Kind.AGENT, Kind.BARE): 0.33,
    Comparison(Disk.SLOW, 64, Kind.AGENT, Kind.FASTAPI): 15.0,
}
PAIRINGS = ((Kind.AGENT, Kind.BARE), (Kind.AGENT, Kind.FASTAPI), (Kind.FASTAPI, Kind.BARE))


def summaries(turns: list[Turn]) -> list[Summary]:
    """Summarize each server at each number of connections on each disk."""
    groups = dict.fromkeys((turn.disk, turn.connections, turn.server) for turn in turns)
    return [summarise(of(turns, *group)) for group in groups]


def summarise(turns: list[Turn]) -> Summary:
    """Return the medians of turns with equal disk, connections and server."""
    first = turns[0]
    return Summary(
        first.disk,
        first.connections,
        first.server,
        median(turn.pairs_per_second for turn in turns),
        median(turn.load.p50_ms for turn in turns),
        median(turn.load.p99_ms for turn in turns),
        median(turn.server_cpu_us_per_pair for turn in turns),
        median(1e6 * turn.load.cpu_seconds / max(1, turn.load.requests) for turn in turns),
    )


def ratios(turns: list[Turn]) -> list[Ratio]:
    """Compare each pairing of servers that were both measured."""
    fields = dict.fromkeys((turn.disk, turn.connections) for turn in turns)
    servers = {turn.server for turn in turns}
    met = [pairing for pairing in PAIRINGS if servers.issuperset(pairing)]
    return [compare(turns, Comparison(*field, *pairing)) for field in fields for pairing in met]


def compare(turns: list[Turn], comparison: Comparison) -> Ratio:
    """Compare two servers by their medians and round by round."""
    disk, connections, server, reference = comparison
    own = rates(of(turns, disk, connections, server))
    other = rates(of(turns, disk, connections, reference))
    rounds = (quotient(a, b) for a, b in zip(own, other, strict=True))
    return Ratio(
        comparison, quotient(median(own), median(other)), median(rounds), TARGETS.get(comparison)
    )


def of(turns: Iterable[Turn], disk: Disk, connections: int, server: Kind) -> list[Turn]:
    """Return the turns with this disk, connections and server, by round."""
    wanted = (disk, connections, server)
    return [turn for turn in turns if (turn.disk, turn.connections, turn.server) == wanted]


def rates(turns: list[Turn]) -> list[float]:
    """Return the rates of turns."""
    return [turn.pairs_per_second for turn in turns]


def quotient(a: float, b: float) -> float:
    """Divide; return NaN, which meets no target, for division by zero."""
    return a / b if b else float("nan")

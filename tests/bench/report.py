"""Printed report of the capture benchmark: tables, notes, failures."""

from collections.abc import Iterator
from itertools import groupby

from tests.bench.disk import POS_DISK_SECONDS
from tests.bench.figures import Disk, Ratio, Summary, Turn, ratios, summaries
from tests.bench.servers import Kind

IDLE_SHARE = 0.02
"""CPU share above which an idle server distorts the measurement of another one."""

TITLES = {
    Disk.OWN: "The machine's own disk",
    Disk.SLOW: f"A disk whose every sync takes {POS_DISK_SECONDS * 1000:.0f} ms more",
}


def print_report(turns: list[Turn]) -> None:
    """Print the results of all disks."""
    for disk, group in groupby(turns, key=lambda turn: turn.disk):
        print_part(TITLES[disk], list(group))


def print_part(title: str, turns: list[Turn]) -> None:
    """Print the results of one disk."""
    print(f"\n{title}: session+e-mail pairs, medians of rounds")
    print(
        f"{'connections':>11}  {'server':<8}{'pairs/s':>10}{'p50 ms':>10}{'p99 ms':>10}"
        f"{'server CPU µs/pair':>20}{'tills CPU µs/request':>22}"
    )
    for summary in summaries(turns):
        print(summary_line(summary))
    if compared := ratios(turns):
        print(
            f"\n{'connections':>11}  {'ratio':<16}{'of medians':>11}{'by round':>11}{'target':>12}"
        )
        print("\n".join(map(ratio_line, compared)))
    for note in notes(turns):
        print(f"note: {note}")


def summary_line(summary: Summary) -> str:
    """Format one server's medians."""
    return (
        f"{summary.connections:>11}  {summary.server:<8}{summary.pairs_per_second:>10.0f}"
        f"{summary.p50_ms:>10.2f}{summary.p99_ms:>10.2f}"
        f"{summary.server_cpu_us_per_pair:>20.0f}{summary.till_cpu_us_per_request:>22.1f}"
    )


def ratio_line(ratio: Ratio) -> str:
    """Format a ratio and its target."""
    comparison = ratio.comparison
    target = "" if ratio.target is None else f">= {ratio.target:.2f}"
    line = (
        f"{comparison.connections:>11}  {comparison.server + '/' + comparison.reference:<16}"
        f"{ratio.of_medians:>11.3f}{ratio.median_of_rounds:>11.3f}{target:>12}  {ratio.verdict}"
    )
    return line.rstrip()


def notes(turns: list[Turn]) -> Iterator[str]:
    """Return caveats about the comparability of the figures."""
    lengths = {turn.server: turn.load.session_body_bytes for turn in turns}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{server} {length}" for server, length in lengths.items())
        yield f"the session answers differ in length: {told} bytes"
    idle = max(turn.idle_cpu_share for turn in turns)
    if idle > IDLE_SHARE:
        yield f"a server used {idle:.0%} of a processor while another was measured"


def failures(turns: list[Turn]) -> list[str]:
    """Return the failures of the run: wrong answers, and answers faster than the disk."""
    wrong = [f"{turn.server}: {what}" for turn in turns for what in turn.load.failures]
    return wrong + list(too_fast(turns))


def too_fast(turns: list[Turn]) -> Iterator[str]:
    """Return the servers that answered before their sync can have ended."""
    for turn in turns:
        durable = turn.server is not Kind.BARE and turn.disk is Disk.SLOW
        if durable and turn.load.requests and turn.load.minimum_ms < POS_DISK_SECONDS * 1000:
            yield f"{turn.server} answered in {turn.load.minimum_ms:.2f} ms: before its sync ended"

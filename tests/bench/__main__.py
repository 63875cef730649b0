"""Command line of the benchmarks: see `python -m tests.bench --help`."""

import argparse
import asyncio
import importlib.util
import signal
import sys
from pathlib import Path
from types import FrameType

import msgspec

from tests.bench import report
from tests.bench.answers import ANSWERS, measure_answers
from tests.bench.capture import LoadError, Plan, measure
from tests.bench.carried import measure_carried
from tests.bench.disk import (
    IN_MEMORY,
    SlowSyncError,
    build_slow_sync,
    commit_seconds,
    file_system,
    scratch,
)
from tests.bench.drain import Plan as DrainPlan
from tests.bench.drain import measure_drain
from tests.bench.figures import Disk, Turn, ratios, summaries
from tests.bench.fleet import OUTAGES, RATE, measure_few, measure_fleet, plans_for
from tests.bench.fleet import STORES as FLEET_STORES
from tests.bench.page import STORES, measure_page
from tests.bench.progress import Progress
from tests.bench.receiver import Plan as ReceiverPlan
from tests.bench.receiver import measure_receiver
from tests.bench.servers import Kind, ServerError
from tests.bench.start import BACKLOG, measure_start

OK, FAILED, USAGE_ERROR = 0, 1, 2
REQUIRED_MODULES = {Kind.FASTAPI: ("fastapi", "uvicorn", "httptools")}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    benches = parser.add_subparsers(dest="bench", required=True)
    capture = benches.add_parser("capture", help="pairs per second, beside peers")
    capture.add_argument("--rounds", type=positive, default=5)
    capture.add_argument("--seconds", type=float, default=2.0, help="of one server's turn")
    capture.add_argument("--warm-up-seconds", type=float, default=0.3, help="before it, untimed")
    capture.add_argument("--connections", type=positive, nargs="+", default=[1, 8, 64])
    capture.add_argument("--servers", type=Kind, nargs="+", default=list(Kind))
    capture.add_argument("--disks", type=Disk, nargs="+", default=list(Disk))
    capture.add_argument("--json", type=Path, help="write every figure here as well")
    capture.set_defaults(run=run_capture)
    page = benches.add_parser("page", help="head office's fleet page with a whole chain")
    page.add_argument("--stores", type=positive, default=STORES)
    page.add_argument("--times", type=positive, default=20, help="each address is asked for")
    page.set_defaults(run=run_page)
    start = benches.add_parser("start", help="time and memory of a start, with a backlog too")
    start.add_argument("--backlog", type=positive, default=BACKLOG, help="undelivered events")
    start.set_defaults(run=run_start)
    drain = benches.add_parser("drain", help="a backlog's way to head office")
    drain.add_argument("--events", type=positive, default=100_000, help="in batches")
    drain.add_argument("--replayed", type=positive, default=20_000, help="one by one")
    drain.add_argument("--rounds", type=positive, default=3)
    drain.set_defaults(run=run_drain)
    receiver = benches.add_parser("receiver", help="batches into PostgreSQL at head office")
    receiver.add_argument("--batches", type=positive, default=60, help="of each of eight agents")
    receiver.add_argument("--rounds", type=positive, default=3)
    receiver.set_defaults(run=run_receiver)
    answers = benches.add_parser("answers", help="thousands of answers to one session")
    answers.add_argument("--answers", type=positive, default=ANSWERS, help="in one batch")
    answers.add_argument("--rounds", type=positive, default=3)
    answers.set_defaults(run=run_answers)
    carried = benches.add_parser("carried", help="a backlog in a file: its export and import")
    carried.add_argument("--events", type=positive, default=100_000)
    carried.add_argument("--rounds", type=positive, default=3)
    carried.set_defaults(run=run_carried)
    fleet = benches.add_parser("fleet", help="a whole chain after an outage of head office")
    fleet.add_argument("--stores", type=positive, default=FLEET_STORES)
    fleet.add_argument("--rate", type=positive, default=RATE, help="events/s let in")
    fleet.add_argument("--outages", choices=list(OUTAGES), nargs="+", default=["refused"])
    fleet.add_argument("--seed", type=int, default=1)
    fleet.add_argument("--few", type=positive, default=50, help="stores in real time")
    fleet.set_defaults(run=run_fleet)
    for bench in (capture, start, drain, receiver, answers, carried):
        bench.add_argument(
            "--directory", type=Path, help="a directory on a real disk (default: the user's cache)"
        )
    return parser.parse_args()


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def run_capture(options: argparse.Namespace) -> int:
    """Measure captures on each disk and print; the exit code is 1 if an answer was wrong."""
    plan = Plan(
        options.rounds,
        options.seconds,
        options.warm_up_seconds,
        tuple(dict.fromkeys(options.connections)),
        tuple(dict.fromkeys(options.servers)),
    )
    if absent := missing_modules(plan):
        install = "pip install -e '.[bench]'"
        print(f"{', '.join(absent)} cannot be imported; install with: {install}", file=sys.stderr)
        return USAGE_ERROR
    turns: list[Turn] = []
    with scratch(options.directory) as directory:
        print_disk(directory)
        failures = [
            failure
            for disk in dict.fromkeys(options.disks)
            if (failure := measure_disk(plan, disk, directory, turns))
        ]
    return report_results(turns, failures, options.json)


def run_page(options: argparse.Namespace) -> int:
    """Measure and print the fleet page; reads only, so the disk does not matter."""
    with scratch(None) as directory:
        asyncio.run(measure_page(directory, options.stores, options.times))
    return OK


def run_start(options: argparse.Namespace) -> int:
    """Measure and print start-up time and memory."""
    with scratch(options.directory) as directory:
        print_disk(directory)
        asyncio.run(measure_start(directory, options.backlog))
    return OK


def run_drain(options: argparse.Namespace) -> int:
    """Measure and print delivery."""
    with scratch(options.directory) as directory:
        print_disk(directory)
        plan = DrainPlan(options.events, options.replayed, options.rounds)
        asyncio.run(measure_drain(directory, plan))
    return OK


def run_receiver(options: argparse.Namespace) -> int:
    """Measure and print head office on PostgreSQL."""
    with scratch(options.directory) as directory:
        print_disk(directory)
        asyncio.run(measure_receiver(directory, ReceiverPlan(options.batches, options.rounds)))
    return OK


def run_answers(options: argparse.Namespace) -> int:
    """Measure and print answers to one session; the exit code is 1 if a target was missed."""
    with scratch(options.directory) as directory:
        print_disk(directory)
        is_met = asyncio.run(measure_answers(directory, options.answers, options.rounds))
    return OK if is_met else FAILED


def run_carried(options: argparse.Namespace) -> int:
    """Measure and print export and import."""
    with scratch(options.directory) as directory:
        print_disk(directory)
        asyncio.run(measure_carried(directory, options.events, options.rounds))
    return OK


def run_fleet(options: argparse.Namespace) -> int:
    """Simulate a chain's outages and print; the exit code is 1 if a target was missed."""
    outages = [OUTAGES[name] for name in options.outages]
    plans = plans_for(options.stores, options.rate, outages, options.seed)
    is_met = [measure_fleet(plans), measure_few(options.few)]
    return OK if all(is_met) else FAILED


def missing_modules(plan: Plan) -> list[str]:
    """Return the modules that the chosen servers need and that are not installed."""
    needed = [module for server in plan.servers for module in REQUIRED_MODULES.get(server, ())]
    return [module for module in needed if importlib.util.find_spec(module) is None]


def print_disk(directory: Path) -> None:
    """Print the disk that is measured, its file system and its commit time."""
    kind = file_system(directory)
    if kind in IN_MEMORY:
        print(f"warning: {directory} is {kind}: syncs cost nothing there", file=sys.stderr)
    print(
        f"{directory} on {kind or 'an unknown file system'};"
        f" a commit there takes {commit_seconds(directory) * 1000:.2f} ms"
    )


def measure_disk(plan: Plan, disk: Disk, directory: Path, turns: list[Turn]) -> str | None:
    """Append one disk's turns to `turns`; return the error that ended them early, if any."""
    progress = Progress(plan.turns)
    place = directory / disk
    place.mkdir()
    try:
        environment = build_slow_sync(place) if disk is Disk.SLOW else {}
        turns += measure(plan, disk, place, environment, progress)
    except (SlowSyncError, ServerError, LoadError) as error:
        return f"{disk} disk: {error}"
    finally:
        progress.done()
    return None


def report_results(turns: list[Turn], failures: list[str], json: Path | None) -> int:
    """Print the report and write the file; return 1 on any failure other than speed."""
    report.print_report(turns)
    failures = failures + report.failures(turns)
    for failure in failures:
        print(f"failure: {failure}", file=sys.stderr)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report_document(turns, failures))))
    return FAILED if failures else OK


def report_document(turns: list[Turn], failures: list[str]) -> dict[str, list[object]]:
    """Return the report for the JSON file."""
    return {
        "summaries": [summary._asdict() for summary in summaries(turns)],
        "ratios": [
            ratio.comparison._asdict()
            | {
                "of_medians": ratio.of_medians,
                "median_of_rounds": ratio.median_of_rounds,
                "target": ratio.target,
                "verdict": ratio.verdict,
            }
            for ratio in ratios(turns)
        ],
        "turns": [turn._asdict() for turn in turns],
        "failures": list(failures),
    }


def exit_on_signal(number: int, _frame: FrameType | None) -> None:
    """Exit through every `finally`, so that no server keeps running."""
    sys.exit(128 + number)


def main() -> int:
    """Run the chosen benchmark."""
    signal.signal(signal.SIGTERM, exit_on_signal)
    options = arguments()
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())

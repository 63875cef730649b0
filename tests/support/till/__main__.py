"""Load generator: runs a crowd of tills in its own process.

`python -m tests.support.till --port N --connections 64 --seconds 2` puts load on a server and
prints one JSON line (`Load`). Without --seconds and --pairs it runs until SIGTERM or SIGINT. With
--log every acknowledged capture is appended as a JSON line (`CaptureAnswer`) before the till goes
on.
"""

import argparse
import asyncio
import resource
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
import uvloop

from tests.support.till.crowd import CaptureAnswer, Crowd, Hook
from tests.support.till.requests import fresh_pairs
from tests.support.till.tally import Load, Tally


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.till", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="how long to measure (default: no end)")
    parser.add_argument("--warm-up-seconds", type=float, default=0.0, help="before that, untimed")
    parser.add_argument("--pairs", type=int, help="how many customers (default: no end)")
    parser.add_argument("--receipts", action="store_true", help="a 200 must carry its receipt")
    parser.add_argument("--log", type=Path, help="append every acknowledged capture here")
    return parser.parse_args()


def logging_to(path: Path | None, tally: Tally, stack: ExitStack) -> Hook:
    """Count each acknowledgement, and append it to the log at `path` if given."""
    if path is None:
        return tally.acknowledged
    # Unbuffered: acknowledgements read before a kill are in the log.
    log = stack.enter_context(path.open("ab", buffering=0))

    def acknowledged(answer: CaptureAnswer) -> None:
        log.write(msgspec.json.encode(answer) + b"\n")
        tally.acknowledged(answer)

    return acknowledged


async def run(options: argparse.Namespace) -> Load:
    """Put load on the server and return the measurements."""
    tally = Tally(receipts=options.receipts)
    with ExitStack() as stack:
        crowd = Crowd(
            options.host,
            options.port,
            pairs=fresh_pairs(options.pairs),
            on_acknowledged=logging_to(options.log, tally, stack),
            on_refused=tally.refused,
        )
        load = await measure(crowd, tally, options)
        await crowd.close()
    lost = [f"no answer to {question}" for question in crowd.in_doubt]
    return msgspec.structs.replace(
        load, failures=[*tally.failures, *lost, *map(repr, crowd.failures)]
    )


async def measure(crowd: Crowd, tally: Tally, options: argparse.Namespace) -> Load:
    """Let the crowd work until the time is over, a signal arrives or all customers are served."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    started, cpu = time.monotonic(), cpu_seconds()
    await crowd.open(options.connections)
    if options.warm_up_seconds:
        await until(stopped, crowd, options.warm_up_seconds)
        tally.clear()
        started, cpu = time.monotonic(), cpu_seconds()
    await until(stopped, crowd, options.seconds)
    return tally.load(time.monotonic() - started, cpu_seconds() - cpu)


async def until(stopped: asyncio.Event, crowd: Crowd, seconds: float | None) -> None:
    """Wait for the timeout, a stop signal or the end of the crowd, whichever is first."""
    waits = [asyncio.ensure_future(stopped.wait()), asyncio.ensure_future(crowd.finished())]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def cpu_seconds() -> float:
    """Return the CPU time of this process in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Run the load; return 1 if any answer was not as expected."""
    load = uvloop.run(run(arguments()))
    print(msgspec.json.encode(load).decode())
    return 1 if load.failures else 0


if __name__ == "__main__":
    sys.exit(main())

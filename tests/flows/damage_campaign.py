"""Repeats damaged files by their seeds: `python -m tests.flows.damage_campaign 41 42 43`.

Prints a line for each: the damage, captures found by SQLite's recovery and missing at head office,
seconds, and what should not be. Exits with 1 if anything should not be.
"""

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.flows.test_salvage import run_damaged
from tests.support.faults.damaged_database import build_killed_store


def main(seeds: list[int]) -> int:
    """Run the seeds one after another; return the exit code."""
    logging.disable(logging.CRITICAL)
    worst = 0
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        killed = build_killed_store(place)
        for number, seed in enumerate(seeds):
            outcome = asyncio.run(run_damaged(killed, seed, place / str(number)))
            worst |= bool(outcome.faults or outcome.missing)
            found, missing = len(outcome.found_by_sqlite), len(outcome.missing)
            seconds = f"{outcome.served_seconds:.1f} {outcome.arrived_seconds:.1f}"
            print(seed, outcome.damage, found, missing, seconds, outcome.faults, flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main([int(seed) for seed in sys.argv[1:]]))

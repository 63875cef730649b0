"""Runs many random histories: `python -m tests.model.whole.campaign --seed 1 --histories 5000`.

Prints the shortest history that breaks a promise, and exits with 1.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import Protocol

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.model.whole.generate import KINDS, histories
from tests.model.whole.history import History, as_text, histories_on_sqlite
from tests.support.fresh_schema import schema_by_script

# Without the explanation of a failure, which takes minutes.
PHASES = (Phase.generate, Phase.shrink)


class Running(Protocol):
    """Runs a history; raises `AssertionError` with the promises it breaks."""

    def run(self, history: History) -> None:
        """Run it to its end."""


def run_histories(
    running: Running, drawn: st.SearchStrategy[History], count: int, seeded: int
) -> None:
    """Run `count` of the drawn histories.

    Raises `AssertionError` with the shortest history that breaks a promise.
    """
    last: History = []

    @seed(seeded)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=PHASES,
        report_multiple_bugs=False,
    )
    @given(drawn)
    def run(history: History) -> None:
        nonlocal last
        try:
            running.run(history)
        except BaseException:
            last = history
            raise

    try:
        run()
    except AssertionError as broken:
        raise AssertionError(f"{broken.args[0]}\nin the history\n{as_text(last)}") from broken


def main() -> None:
    """Run the histories that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--histories", type=int, default=1_000)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with schema_by_script(), tempfile.TemporaryDirectory() as directory:
        try:
            with histories_on_sqlite(Path(directory)) as running:
                drawn = histories(chosen.kinds)
                run_histories(running, drawn, chosen.histories, chosen.seed)
        except AssertionError as broken:
            sys.exit(str(broken))


if __name__ == "__main__":
    main()

"""Runs histories of deferral."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.model.deferral.judge import breaches, unfinished
from tests.model.deferral.shop import KINDS
from tests.model.deferral.steps import Steps
from tests.model.delivery_harness import DeliveryHarness
from tests.model.whole.history import History, without_gc

HEARTBEATS = 4


class Histories:
    """Runs histories one after another, each on a copy of `template`."""

    def __init__(self, template: Path) -> None:
        self._template = template

    def run(self, history: History) -> None:
        """Run a history to its end. Raises `AssertionError` with the promises it breaks."""
        (_, kind), *steps = history
        shop = Steps(KINDS[int(kind)], self._template)
        try:
            for name, *arguments in steps:
                getattr(shop, str(name))(*arguments)
                _require(list(breaches(shop)))
            _come_to_rest(shop)
            _require([*breaches(shop), *unfinished(shop)])
        finally:
            shop.harness.close()


def _come_to_rest(shop: Steps) -> None:
    """Let all troubles end, and everything arrive: first by itself, then dead letters, too."""
    shop.put_clock_right()
    shop.heal_all()
    _hours(shop)
    _require(list(breaches(shop)))
    for _ in range(2):
        shop.retry_day()
        _hours(shop)


def _hours(shop: Steps) -> None:
    """Let some hours pass; head office names what it lacks, a few at a time."""
    for _ in range(HEARTBEATS):
        shop.heartbeat()
    shop.hours()


def _require(found: list[str]) -> None:
    assert not found, "\n".join(found)


@contextmanager
def deferral_histories() -> Iterator[Histories]:
    """Run histories, on files without syncs."""
    with tempfile.TemporaryDirectory(prefix="deferral-") as directory, without_gc():
        made = DeliveryHarness("batch")
        made.restart()
        template = Path(directory) / "template"
        made.copy_to(template)
        made.close()
        yield Histories(template)

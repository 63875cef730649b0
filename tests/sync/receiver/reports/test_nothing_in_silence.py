"""What head office refuses, lacks, or holds for a person is said, or the row says why not.

One row for each kind: in the log, as a condition of the till (fleet page and `stores`), as exit
code 1 of a command, as a metric.
"""

from dataclasses import dataclass

import pytest

from sync.receiver.cli import COMMANDS
from sync.receiver.reports.conditions import Condition
from tests.support.head_office.messages import SimulatedAgent
from tests.support.head_office.receiver import Receiver
from tests.support.processes import ROOT
from tests.support.prometheus import parse_samples

SOURCES = [*(ROOT / "sync").rglob("*.py")]


@dataclass(frozen=True)
class Why:
    """The reason for which one of them says nothing."""

    reason: str


@dataclass(frozen=True)
class Said:
    """Where a kind is said: log event, condition, command with exit code 1, metric."""

    log: str | Why
    condition: Condition | Why
    command: str | Why
    metric: str | Why


OF_A_TILL = "loyalty_hq_fleet_stores_in_condition"
NO_TILL = Why("it is of no till that is known")
KINDS = {
    "rejected event": Said(
        "event.rejected",
        Condition.DEAD_LETTERS,
        Why("it is here, with its reason; completeness counts it"),
        "loyalty_hq_fleet_rejected_events",
    ),
    "event sent again with other content": Said(
        "event.altered",
        Why("the till renumbers and sends it again by itself"),
        Why("nothing is missing then"),
        "loyalty_hq_events_total",
    ),
    "dead letter on a till": Said(
        Why("the till's own log has it, with the code"),
        Condition.DEAD_LETTERS,
        Why("its number has arrived; stores lists it"),
        "loyalty_hq_fleet_dead_letters",
    ),
    "gap": Said(
        "gap.recorded",
        Why("a person acknowledges it; the store's page lists it until then"),
        "completeness",
        "loyalty_hq_fleet_gap_events",
    ),
    "ended epoch without a last word": Said(
        Why("usual for a moment, until the machine's next heartbeat"),
        Condition.UNCONFIRMED,
        "epochs",
        "loyalty_hq_fleet_unconfirmed_epochs",
    ),
    "too many epochs": Said(
        "agent.too_many_epochs",
        Condition.TOO_MANY_EPOCHS,
        Why("its events wait on the till, as outstanding ones do"),
        OF_A_TILL,
    ),
    "two machines under one name": Said(
        "agent.name_shared", Condition.SHARED_NAME, Why("nothing is lost by it"), OF_A_TILL
    ),
    "silent till": Said(
        Why("nothing happens that could be logged"),
        Condition.SILENT,
        Why("completeness counts silent tills beside its verdict"),
        OF_A_TILL,
    ),
    "outstanding events": Said(
        Why("nothing happens that could be logged"),
        Condition.BEHIND,
        "completeness",
        "loyalty_hq_fleet_waiting_events",
    ),
    "refused token": Said("agent.token_refused", NO_TILL, NO_TILL, "loyalty_hq_problems_total"),
    "refused request": Said(
        "request.refused",
        Why("the till keeps its events, and is behind if it lasts"),
        Why("as for the condition"),
        "loyalty_hq_problems_total",
    ),
    "refused reader": Said("reader.token_refused", NO_TILL, NO_TILL, "loyalty_hq_problems_total"),
    "database down or disk full": Said(
        "request.refused",
        Why("it is of all tills; readyz and doctor say it"),
        Why("every command fails with the reason"),
        "loyalty_hq_database_up",
    ),
    "purge that failed": Said(
        "hq.purge_failed",
        NO_TILL,
        Why("it is tried again the next day"),
        Why("nothing is lost by it; the log has the reason"),
    ),
    "copy that could not be deleted": Said(
        "hq.copy_kept", NO_TILL, Why("forget names it"), Why("as for a purge that failed")
    ),
}
ROWS = pytest.mark.parametrize("said", KINDS.values(), ids=KINDS.keys())


@ROWS
def test_event_is_in_the_log(said: Said) -> None:
    if isinstance(said.log, str):
        assert any(f'"{said.log}"' in source.read_text("utf-8") for source in SOURCES)


@ROWS
def test_command_exists(said: Said) -> None:
    assert isinstance(said.command, Why) or said.command in COMMANDS


def test_every_fault_of_a_till_is_in_a_row() -> None:
    """A new condition of a till needs a row here, or is no fault."""
    no_faults = {
        # Switched off in order; alerts of their own for those that hold captures, or for long.
        Condition.CLOSED,
        Condition.CLOSED_WAITING,
        Condition.CLOSED_LONG,
        Condition.NOT_INSTALLED,
        Condition.DELIVERING,
        Condition.OTHER_VERSION,
        # Of the machine: its own page, doctor and metrics say them as well.
        Condition.DISK_LOW,
        Condition.CLOCK_WRONG,
    }
    in_rows = {said.condition for said in KINDS.values()}
    assert {one for one in Condition if one not in no_faults} - in_rows == set()


async def test_each_metric_is_exported(receiver: Receiver, till: SimulatedAgent) -> None:
    await receiver.heartbeat(till)
    await receiver.get("/nowhere")
    names = {name for name, _ in parse_samples((await receiver.get("/metrics")).body)}

    wanted = {said.metric for said in KINDS.values() if isinstance(said.metric, str)}
    assert wanted - names == set()

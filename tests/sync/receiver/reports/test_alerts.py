"""Alert rules in `docs/alerts.yaml`: valid PromQL over metrics that the receiver exports."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from promql_parser import Expr, Matcher, MatchOp, VectorSelector, parse, parse_duration, walk
from pydantic import BaseModel, ConfigDict, Field

from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.receiver import Receiver
from tests.support.prometheus import Samples, parse_samples
from tests.sync.receiver.conftest import StartReceiver

ALERTS = Path(__file__).parents[4] / "docs" / "alerts.yaml"
# Prometheus' own metric: whether a scrape succeeded.
NOT_OURS = {"up"}
MOST_BATCHES = 50


class Annotations(BaseModel):
    model_config = ConfigDict(extra="forbid")
    summary: str


class Rule(BaseModel):
    model_config = ConfigDict(extra="forbid")
    alert: str
    expr: str
    for_: str = Field("1m", alias="for")
    annotations: Annotations


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    rules: list[Rule]


class AlertFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    groups: list[Group]


def rules() -> list[Rule]:
    file = AlertFile.model_validate(yaml.safe_load(ALERTS.read_text("utf-8")))
    return [rule for group in file.groups for rule in group.rules]


def selectors(expression: str) -> list[VectorSelector]:
    """Return the receiver's metrics that an expression selects."""
    found: list[VectorSelector] = []

    def look(part: Expr) -> None:
        if isinstance(part, VectorSelector) and part.name not in NOT_OURS:
            found.append(part)

    walk(parse(expression), look)
    return found


def fits(matcher: Matcher, labels: dict[str, str]) -> bool:
    value = labels.get(matcher.name, "")
    if matcher.op == MatchOp.Equal:
        return value == matcher.value
    assert matcher.op == MatchOp.Re
    return re.fullmatch(matcher.value, value) is not None


def is_exported(selector: VectorSelector, samples: Samples) -> bool:
    return any(
        name == selector.name and all(fits(one, dict(labels)) for one in selector.matchers.matchers)
        for name, labels in samples
    )


async def use(receiver: Receiver, till: SimulatedAgent) -> None:
    """Produce a stored batch, a deferred one, a failed one, and a heartbeat."""
    statuses = [(await receiver.heartbeat(till)).status]
    while statuses[-1] != 429:
        assert len(statuses) < MOST_BATCHES
        number = len(statuses)
        statuses.append((await receiver.send(till, session(number), session(number + 1))).status)
    with closing(sqlite3.connect(receiver.database)) as tool, tool:
        tool.execute("ALTER TABLE tokens RENAME TO gone")
    statuses.append((await receiver.heartbeat(till)).status)

    assert {200, 429, 503} <= set(statuses)


@pytest.fixture
async def samples(start_receiver: StartReceiver, till: SimulatedAgent) -> Samples:
    """The metrics of a receiver after some traffic."""
    receiver = await start_receiver(intake={"events_per_second": 1})
    await receiver.enroll(till)
    before = parse_samples((await receiver.get("/metrics")).body)
    await use(receiver, till)
    return {**before, **parse_samples((await receiver.get("/metrics")).body)}


def test_each_failure_has_an_alert_with_valid_promql() -> None:
    named = [rule.alert for rule in rules()]

    assert len(set(named)) == len(named) == 15
    for rule in rules():
        parse(rule.expr)
        parse_duration(rule.for_)


async def test_every_metric_in_an_alert_is_exported_after_some_traffic(samples: Samples) -> None:
    selected = [(rule.alert, one) for rule in rules() for one in selectors(rule.expr)]

    assert [
        (alert, one.prettify()) for alert, one in selected if not is_exported(one, samples)
    ] == []
    assert len(selected) > len(rules())


def test_fleet_metrics_are_never_summed() -> None:
    assert [rule.alert for rule in rules() if re.search(r"sum[^(]*\([^)]*_fleet_", rule.expr)] == []

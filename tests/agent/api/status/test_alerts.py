"""Alert rules in `docs/alerts-agent.yaml`: valid PromQL over metrics that the agent exports."""

import re

import yaml
from promql_parser import parse, parse_duration

from agent.config.central import CentralSettings
from tests.agent.api.conftest import StartAgent
from tests.support.processes import ROOT
from tests.support.prometheus import parse_samples

FILE = yaml.safe_load((ROOT / "docs" / "alerts-agent.yaml").read_text("utf-8"))
RULES = [rule for group in FILE["groups"] for rule in group["rules"]]


def test_every_rule_has_valid_promql() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        parse(rule["expr"])
        parse_duration(rule.get("for", "1m"))


async def test_every_metric_in_an_alert_is_exported(start_agent: StartAgent) -> None:
    agent = await start_agent(central=CentralSettings(url="http://127.0.0.1:9"))
    exported = {name for name, _ in parse_samples((await agent.get("/metrics")).body)}

    named = re.findall(r"loyalty_agent_[a-z_]+", " ".join(rule["expr"] for rule in RULES))
    assert set(named) - exported == set()
    assert len(named) >= len(RULES) - 1


def test_events_that_need_a_person_have_a_rule() -> None:
    named = " ".join(rule["expr"] for rule in RULES)
    for metric in ("dead_letters", "stuck_events", "lost_captures", "oldest_waiting_seconds"):
        assert f"loyalty_agent_{metric}" in named

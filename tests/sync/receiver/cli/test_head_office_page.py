"""docs/head-office.md: its commands, metrics and conditions are those of the program."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from sync.receiver.cli import app
from sync.receiver.pages.views import LANGUAGES
from sync.receiver.reports.conditions import Condition
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.receiver import Receiver
from tests.support.processes import ROOT
from tests.support.prometheus import parse_samples

PAGE = (ROOT / "docs" / "head-office.md").read_text("utf-8")
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"(?:^|\| |-- )loyalty-hq (.*)", SHELL, re.MULTILINE)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_command_on_the_page_has_valid_arguments(arguments: str) -> None:
    result = CliRunner().invoke(app, [*shlex.split(arguments), "--help"])

    assert result.exit_code == 0


def test_page_explains_every_condition() -> None:
    table = PAGE[PAGE.index("| a store is |") :]
    english = LANGUAGES["en"]
    names = [english(f"condition.{condition}").lower() for condition in Condition]

    assert [name for name in names if f"\n| {name} |" not in table] == []


async def test_metrics_on_the_page_are_those_of_the_receiver(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1))
    await receiver.get("/v1/nothing")
    samples = parse_samples((await receiver.get("/metrics")).body)
    exported = {re.sub("_(bucket|sum|count)$", "", name) for name, _ in samples}
    explained = set(re.findall(r"`(loyalty_hq_[a-z_]+)`", PAGE))

    # Without a certificate, its days are not exported.
    explained.remove("loyalty_hq_certificate_days")
    assert explained == {one for one in exported if not one.endswith("_created")}

"""docs/store-it.md: its commands, log events, checks and files are those of the program."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from agent.cli import COMMANDS, app
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.disk_space import BALLAST_FILE
from agent.store.files.high_water_mark import MARK_FILE
from agent.store.files.lock import LOCK_FILE
from tests.agent.doctor.test_checkup import CHECKS_OF_CENTRAL, CHECKS_OF_MACHINE
from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "store-it.md").read_text("utf-8")
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
COMMAND_LINES = [line for line in SHELL.splitlines() if line.startswith("loyalty-agent ")]
EVENTS = re.findall(r"`([a-z]+\.[a-z_]+)`", PAGE[PAGE.index("| event |") : PAGE.index("## Dead")])


def test_page_mentions_every_command() -> None:
    assert [name for name in COMMANDS if name not in PAGE] == []


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_command_on_the_page_has_valid_arguments(line: str) -> None:
    _, *arguments = shlex.split(line)

    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


@pytest.mark.process
@pytest.mark.parametrize("event", EVENTS)
def test_log_event_on_the_page_exists(event: str) -> None:
    sources = [*(ROOT / "agent").rglob("*.py"), *(ROOT / "sync").rglob("*.py")]
    spellings = (f'"{event}"', event.replace("agent.", 'f"{name}.'))

    assert any(one in source.read_text("utf-8") for source in sources for one in spellings)


@pytest.mark.parametrize("check", CHECKS_OF_MACHINE + CHECKS_OF_CENTRAL)
def test_check_of_doctor_is_on_the_page(check: str) -> None:
    table = PAGE[PAGE.index("| check |") : PAGE.index("For support:")]

    assert check in table


def test_files_of_the_storage_directory_are_on_the_page() -> None:
    files = (DATABASE_FILE, MARK_FILE, BALLAST_FILE, LOCK_FILE, "encryption.key", "set-aside/")

    assert [file for file in files if f"`{file}`" not in PAGE] == []


def test_metrics_on_the_page_are_those_of_the_agent() -> None:
    sources = [*(ROOT / "agent" / "api").rglob("*.py")]
    texts = [source.read_text("utf-8") for source in sources]
    for metric in re.findall(r"`loyalty_agent_([a-z_]+)`", PAGE):
        name = metric.removesuffix("_total")
        spellings = (f'"{name}"', f'"loyalty_agent_{name}"')
        assert any(one in text for text in texts for one in spellings), metric

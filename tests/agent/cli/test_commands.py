"""Output and exit codes of the agent's commands."""

import subprocess
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.config import ConfigurationError, Mistake, Settings
from sync.runtime.cli.printing import flatten, print_values
from tests.support.agent.process import agent
from tests.support.processes import ROOT


def test_help_names_the_commands() -> None:
    result = agent("--help")

    assert result.returncode == 0
    assert {"run", "check-config", "status"} <= set(result.stdout.split())


def test_help_does_not_truncate_command_summaries() -> None:
    assert "..." not in agent("--help").stdout.partition("Commands:")[2]


def test_version_is_printed() -> None:
    result = agent("--version")

    assert (result.returncode, result.stdout) == (0, "loyalty-agent 0.1.0\n")


@pytest.mark.parametrize("arguments", [[], ["dance"], ["run", "--loud"], ["--config"]])
def test_usage_error_exits_with_2(arguments: list[str]) -> None:
    assert agent(*arguments).returncode == 2


def test_help_imports_no_heavy_module() -> None:
    program = "import sys; sys.argv[1:] = ['--help']\nfrom agent.cli import main\n"
    program += "try: main()\nexcept SystemExit: pass\nprint(*sys.modules)"

    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    loaded = set(result.stdout.split())
    assert "typer" in loaded
    assert not loaded & {"pydantic", "pydantic_settings", "aiohttp", "sqlmodel", "rich", "asyncio"}


@pytest.mark.parametrize("command", ["run", "check-config", "status"])
@pytest.mark.parametrize("before", [True, False])
def test_invalid_configuration_exits_with_2_and_writes_no_file(
    tmp_path: Path, command: str, *, before: bool
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("[storage]\ndirectory = 'data'\n[api]\nprot = 1\n")
    option = ["--config", str(file)]

    result = agent(*option, command) if before else agent(command, *option)

    assert result.returncode == 2
    assert result.stdout == ""
    assert f"{file}, line 4: api.prot: there is no such setting" in result.stderr
    assert [found.name for found in tmp_path.iterdir()] == ["agent.toml"]


def test_config_option_after_the_command_overrides_the_one_before_it(tmp_path: Path) -> None:
    (tmp_path / "right.toml").write_text("store.store_id = '0042'\n")

    result = agent(
        "--config", str(tmp_path / "absent"), "check-config", "--config",
        str(tmp_path / "right.toml"),
    )  # fmt: skip

    assert result.returncode == 0
    assert "store.store_id: 0042" in result.stdout


def test_check_config_prints_non_default_settings_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "agent.toml").write_text("[api]\nport = 9000\ntoken_file = 'token'\n")

    result = agent("check-config", "--config", str(tmp_path / "agent.toml"))

    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        f"The configuration is valid: {tmp_path}/agent.toml.",
        "api.port: 9000",
        f"api.token_file: {tmp_path}/token",
    ]


def test_check_config_accepts_a_missing_default_file() -> None:
    result = agent("check-config")

    assert result.returncode == 0
    assert "only defaults and environment" in result.stdout


def test_check_config_reports_a_missing_secret_file(tmp_path: Path) -> None:
    result = agent("check-config", LOYALTY_AGENT__API__TOKEN_FILE=str(tmp_path / "absent"))

    assert result.returncode == 2
    assert "api.token_file: the file cannot be read" in result.stderr


class FakeService(types.ModuleType):
    """Fake composition root: records the settings, returns or raises the given outcome."""

    def __init__(self, outcome: int | Exception) -> None:
        super().__init__("agent.service")
        self.outcome = outcome
        self.started_with: list[Settings] = []

    def run_agent(self, settings: Settings) -> int:
        self.started_with.append(settings)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(0, 0), (1, 1), (ConfigurationError([Mistake("/token", "", "the file is empty")]), 2)],
)
def test_run_exits_with_the_code_of_the_agent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: int | Exception, code: int
) -> None:
    service = FakeService(outcome)
    monkeypatch.setitem(sys.modules, "agent.service", service)
    monkeypatch.setattr("sync.runtime.logging.configure_logging", lambda *_: None)
    monkeypatch.setenv("LOYALTY_AGENT__STORAGE__DIRECTORY", str(tmp_path / "data"))

    result = CliRunner().invoke(app, ["run"])

    assert result.exit_code == code
    assert [s.storage.directory for s in service.started_with] == [tmp_path / "data"]


def test_table_on_a_terminal_escapes_markup_and_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    print_values("Status", {"store": "[bold]x", "odd": "\x1b[2J", "ready": True})

    shown = capsys.readouterr().out
    assert "Status" in shown
    assert "[bold]x" in shown
    assert "\\x1b[2J" in shown
    assert "yes" in shown


def test_title_above_a_narrow_table_is_not_wrapped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    title = "Settings that differ from the default"

    print_values(title, {"api.port": 8481})

    assert title in capsys.readouterr().out


def test_nested_values_get_dotted_names() -> None:
    values = {"a": {"b": {"c": 1}, "d": []}, "e": {}, "f": None}

    assert flatten(values) == {"a.b.c": 1, "a.d": [], "f": None}

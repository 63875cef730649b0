"""`loyalty-agent run` and `check-config`: output and exit codes."""

import socket
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.config import ConfigurationError, SettingError, Settings
from sync.runtime.start import Start
from tests.support.agent.export_keys import WRONG_KEYS


def test_check_config_prints_non_default_settings_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "agent.toml").write_text("[api]\nport = 9000\ntoken_file = 'token'\n")

    result = CliRunner().invoke(app, ["check-config", "--config", str(tmp_path / "agent.toml")])

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"The configuration is valid: {tmp_path}/agent.toml.",
        "api.port: 9000",
        f"api.token_file: {tmp_path}/token",
    ]


def test_check_config_accepts_a_missing_default_file() -> None:
    result = CliRunner().invoke(app, ["check-config"])

    assert result.exit_code == 0
    assert "only defaults and environment" in result.stdout


def test_check_config_reports_a_missing_secret_file(tmp_path: Path) -> None:
    environment = {"LOYALTY_AGENT__API__TOKEN_FILE": str(tmp_path / "absent")}

    result = CliRunner().invoke(app, ["check-config"], env=environment)

    assert result.exit_code == 2
    assert "api.token_file: the file cannot be read" in result.stderr


def test_check_config_names_more_space_to_keep_than_is_free(tmp_path: Path) -> None:
    """The agent would start, and refuse each capture with 507."""
    environment = {
        "LOYALTY_AGENT__STORAGE__DIRECTORY": str(tmp_path),
        "LOYALTY_AGENT__STORAGE__MIN_FREE_BYTES": str(1024**6),
    }
    result = CliRunner().invoke(app, ["check-config"], env=environment)
    assert result.exit_code == 2
    assert "1,099,511,627,776.0 MiB reserved; free some space, or lower" in result.stderr
    assert "storage.min_free_bytes: " in result.stderr


def test_check_config_names_a_limit_below_the_size_of_the_database(tmp_path: Path) -> None:
    with (tmp_path / "agent.db").open("wb") as file:
        file.truncate(17 * 1024**2)
    environment = {
        "LOYALTY_AGENT__STORAGE__DIRECTORY": str(tmp_path),
        "LOYALTY_AGENT__STORAGE__MAX_BYTES": str(16 * 1024**2),
    }
    result = CliRunner().invoke(app, ["check-config"], env=environment)
    assert result.exit_code == 2
    expected = "storage.max_bytes: 17.0 MiB of 16.0 MiB: captures are rejected; check delivery"
    assert expected in result.stderr


@pytest.mark.parametrize(("name", "code"), [("encryption.key", 0), ("elsewhere.key", 2)])
def test_check_config_refuses_an_unusable_key_only_where_the_agent_does(
    tmp_path: Path, name: str, code: int
) -> None:
    key_file = tmp_path / name
    key_file.write_text("no key")
    environment = {
        "LOYALTY_AGENT__STORAGE__DIRECTORY": str(tmp_path),
        "LOYALTY_AGENT__STORAGE__ENCRYPTION_KEY_FILE": str(key_file),
    }

    result = CliRunner().invoke(app, ["check-config"], env=environment)

    assert result.exit_code == code
    assert f"{key_file}: storage.encryption_key_file: does not hold an encryption" in result.stderr
    assert ("sets the file aside at its start" in result.stderr) is (code == 0)


@pytest.mark.parametrize(("content", "fault"), WRONG_KEYS)
def test_check_config_refuses_a_wrong_public_key_for_exports(
    tmp_path: Path, content: str, fault: str
) -> None:
    """Else it is found out when the line is down, and head office cannot be asked."""
    file = tmp_path / "hq.pub"
    file.write_text(content)
    environment = {
        "LOYALTY_AGENT__STORAGE__DIRECTORY": str(tmp_path),
        "LOYALTY_AGENT__CENTRAL__PUBLIC_KEY_FILE": str(file),
    }

    result = CliRunner().invoke(app, ["check-config"], env=environment)

    assert result.exit_code == 2
    assert result.stderr.count(f"{file}: central.public_key_file: {fault}") == 1


class FakeService(types.ModuleType):
    """Fake composition root: records the settings, returns or raises the given outcome."""

    def __init__(self, outcome: int | Exception) -> None:
        super().__init__("agent.service")
        self.outcome = outcome
        self.started_with: list[Settings] = []

    def run_agent(
        self, settings: Settings, attempt: Start, sockets: Sequence[socket.socket]
    ) -> int:
        self.started_with.append(settings)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(0, 0), (1, 1), (ConfigurationError([SettingError("/token", "", "the file is empty")]), 2)],
)
def test_run_exits_with_the_code_of_the_agent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: int | Exception, code: int
) -> None:
    service = FakeService(outcome)
    monkeypatch.setitem(sys.modules, "agent.service", service)
    monkeypatch.setattr("agent.cli.service_commands.configure_logging", lambda *_: None)
    monkeypatch.setenv("LOYALTY_AGENT__STORAGE__DIRECTORY", str(tmp_path / "data"))

    result = CliRunner().invoke(app, ["run"])

    assert result.exit_code == code
    assert [s.storage.directory for s in service.started_with] == [tmp_path / "data"]

"""Commands of root beside a service leave no file that the service cannot open."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import agent.cli
import sync.receiver.cli
from sync.runtime.cli import discovery
from tests.support.agent.store import opened, record
from tests.support.head_office.process import hq, write_config

NOBODY = 65534
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user"),
]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, open_umask: None) -> Iterator[Path]:
    """A machine with both services installed; not in a directory that only root may enter."""
    place = Path(tempfile.mkdtemp(prefix="machine-"))
    place.chmod(0o755)
    monkeypatch.setattr(discovery, "ROOT", place)
    monkeypatch.setenv("HOME", str(place / "home"))
    for name in ("loyalty-agent", "loyalty-hq"):
        (place / "etc" / name).mkdir(parents=True)
        (place / "etc" / name / "config.toml").touch()
    (place / "var/lib").mkdir(parents=True)
    yield place
    shutil.rmtree(place)
    assert os.geteuid() == os.getegid() == 0


def give_away(directory: Path) -> None:
    """Give a directory with all that is in it to the user of the service."""
    directory.chmod(0o700)
    for place in (directory, *directory.rglob("*")):
        os.chown(place, NOBODY, NOBODY)


def not_the_services(directory: Path) -> list[str]:
    """Return the files that the service cannot open or that others can."""
    places = [(place, place.lstat()) for place in (directory, *directory.rglob("*"))]
    return [
        place.name for place, status in places if status.st_uid != NOBODY or status.st_mode & 0o077
    ]


def run(program: str, *arguments: str) -> Result:
    """Run a command in this process, as root."""
    app = agent.cli.app if program == "loyalty-agent" else sync.receiver.cli.app
    return CliRunner().invoke(app, list(arguments))


def head_office_in(machine: Path) -> Path:
    """Make a database of the service, with a till; return its directory."""
    state = machine / "var/lib/loyalty-hq"
    hq("--config", str(write_config(state)), "enroll", "0042", "till-1")
    give_away(state)
    return state


@pytest.mark.parametrize(
    "command",
    [
        ["enroll", "0042", "till-2"],
        ["stores"],
        ["completeness"],
        ["forget", "guest@example.com"],
        ["revoke", "0042", "till-1"],
        ["audit"],
        ["doctor"],
    ],
    ids=lambda command: command[0],
)
def test_head_office_command_of_root_acts_as_the_service(machine: Path, command: list[str]) -> None:
    state = head_office_in(machine)

    result = run("loyalty-hq", *command)

    assert result.exit_code in {0, 3}, result.stderr
    assert not_the_services(state) == []


def test_export_of_root_is_written_where_root_may(machine: Path) -> None:
    head_office_in(machine)
    private = machine / "root"
    private.mkdir(mode=0o700)

    result = run("loyalty-hq", "export", "--output", str(private / "sessions.csv"))

    assert result.exit_code == 0, result.stderr
    assert (private / "sessions.csv").stat().st_uid == 0


@pytest.mark.parametrize("log", ["kept", "gone", "without index"])
def test_doctor_of_root_leaves_the_agents_directory_to_the_agent(machine: Path, log: str) -> None:
    state = machine / "var/lib/loyalty-agent"
    with opened(machine / "live") as store:
        record(store)
        left_out = {"kept": (), "gone": ("*-wal", "*-shm"), "without index": ("*-shm",)}[log]
        ignored = shutil.ignore_patterns(*left_out)
        shutil.copytree(machine / "live", state, ignore=ignored)
    give_away(state)

    result = run("loyalty-agent", "doctor")

    assert f"state: {state}" in result.stderr
    assert not_the_services(state) == []


def test_salvage_of_root_leaves_the_file_to_the_agent(machine: Path) -> None:
    state = machine / "var/lib/loyalty-agent"
    with opened(state) as store:
        record(store)
    old = machine / "old.db"
    shutil.copy(state / "agent.db", old)
    old.chmod(0o600)
    give_away(state)

    result = run("loyalty-agent", "salvage", str(old))

    assert "is copied to set-aside/" in result.stdout
    assert not_the_services(state) == []


@pytest.mark.parametrize("directory", ["there", "not yet made"])
def test_check_config_of_root_finds_what_the_service_may_not_read(
    machine: Path, monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    """`systemctl reload` runs it as root: the restart after it would have ended the service."""
    if directory == "there":
        head_office_in(machine)
    else:
        monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.getpwuid(NOBODY))
    token = machine / "readers"
    token.write_text("x" * 32)
    config = machine / "etc/loyalty-hq/config.toml"
    config.write_text(f"[server]\nport = 0\n[access]\nadmin_token_file = '{token}'\n")
    token.chmod(0o600)

    refused = run("loyalty-hq", "check-config")
    token.chmod(0o640)
    os.chown(token, 0, NOBODY)
    accepted = run("loyalty-hq", "check-config")

    assert refused.exit_code == 2
    assert f"{token}: access.admin_token_file: the file cannot be read" in refused.stderr
    assert "(Permission denied) by the user of the service" in refused.stderr
    assert "1 error in" in refused.stderr
    assert accepted.exit_code == 0, accepted.stderr


def test_doctor_of_root_finds_what_the_service_may_not_read(machine: Path) -> None:
    """It said that all files are readable, which was true of root alone."""
    head_office_in(machine)
    token = machine / "readers"
    token.write_text("x" * 32)
    token.chmod(0o600)
    config = machine / "etc/loyalty-hq/config.toml"
    config.write_text(f"[server]\nport = 0\n[access]\nadmin_token_file = '{token}'\n")

    refused = run("loyalty-hq", "doctor")
    os.chown(token, NOBODY, NOBODY)
    accepted = run("loyalty-hq", "doctor")

    assert refused.exit_code == 2
    assert "(Permission denied) by the user of the service" in refused.stdout
    nobody = pwd.getpwuid(NOBODY).pw_name
    assert f"all files are readable by the service's user {nobody}" in accepted.stdout


@pytest.mark.parametrize("owner", [NOBODY, 0])
def test_doctor_of_the_agent_says_who_can_read_the_files(machine: Path, owner: int) -> None:
    token = machine / "token"
    token.write_text("x" * 32)
    token.chmod(0o600)
    (machine / "etc/loyalty-agent/config.toml").write_text(f"[api]\ntoken_file = '{token}'\n")
    state = machine / "var/lib/loyalty-agent"
    state.mkdir(mode=0o700)
    os.chown(state, owner, owner)

    result = run("loyalty-agent", "doctor", "--new")

    if owner == NOBODY:
        assert result.exit_code == 2
        assert "(Permission denied) by the user of the service" in result.stdout
    else:
        assert "all files are readable by root" in result.stdout


def test_check_config_of_root_accepts_a_credential_that_root_alone_may_read(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head_office_in(machine)
    credentials = machine / "etc/loyalty-hq/credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "admin-token").write_text("x" * 32)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    config = machine / "etc/loyalty-hq/config.toml"
    config.write_text("[server]\nport = 0\n[access]\nadmin_token_file = 'credential:admin-token'\n")

    result = run("loyalty-hq", "check-config")

    assert result.exit_code == 0, result.stderr


def test_file_that_is_missing_is_named_once(machine: Path) -> None:
    head_office_in(machine)
    config = machine / "etc/loyalty-hq/config.toml"
    config.write_text("[server]\nport = 0\n[access]\nadmin_token_file = '/no/such/token'\n")

    result = run("loyalty-hq", "check-config")

    assert "1 error in the configuration" in result.stderr

"""`status --check` and `--format`, beside an agent that answers, rejects, or does not run."""

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import Result

from agent.drill.processes import free_port
from agent.store.db.connect import DATABASE_FILE
from agent.store.db.wal import wal_of
from tests.agent.cli.test_status import STATUS, canned_server, run
from tests.support.agent.store import answer, change, opened, record, session
from tests.support.prometheus import parse_samples

NOBODY = 65_534
DELIVERING = STATUS | {"central": {"url": "https://hq.example"}}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


def check_of(body: object, *arguments: str, code: int = 200) -> Result:
    """Run `status --check` against a canned answer."""
    with canned_server(json.dumps(body).encode(), code) as (port, _):
        return run("status", "--check", *arguments, LOYALTY_AGENT__API__PORT=str(port))


def beside(directory: Path, *arguments: str, **variables: str) -> Result:
    """Run `status` with the storage `directory`, where no agent answers."""
    return run(
        "status",
        *arguments,
        LOYALTY_AGENT__STORAGE__DIRECTORY=str(directory),
        LOYALTY_AGENT__API__PORT=str(free_port()),
        LOYALTY_AGENT__CENTRAL__URL="https://hq.example",
        LOYALTY_AGENT__STORE__STORE_ID="0042",
        LOYALTY_AGENT__STORE__TILL_ID="till-1",
        **variables,
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The storage of an agent that stopped: two undelivered captures, one of them refused."""
    with opened(tmp_path / "state") as store:
        record(store, session(), answer(), session("two"))
    insert = "INSERT INTO dead_letter (destination, position, error_code, error_message,"
    values = "('central', 1, 'ALTERED', 'a reason', 0, 1)"
    change(tmp_path / "state", f"{insert} refused_at_us, attempts) VALUES {values}")
    return tmp_path / "state"


def entries(directory: Path) -> set[tuple[str, int, int]]:
    """Return name, size and time of each entry."""
    return {(e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in os.scandir(directory)}


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("members", "code", "word"),
    [
        ({}, 0, "OK"),
        ({"deadLetters": 2}, 1, "WARNING"),
        ({"storage": {"state": "full"}}, 2, "CRITICAL"),
        ({"waiting": None}, 3, "UNKNOWN"),
    ],
)
def test_verdict_is_the_exit_code_and_the_word_of_the_line(
    members: dict[str, object], code: int, word: str
) -> None:
    result = check_of(DELIVERING | members)

    assert result.exit_code == code
    assert re.fullmatch(rf"LOYALTY AGENT {word}: [^|\n]+ \| waiting=\S+.*\n", result.stdout)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--max-waiting", "3", "--max-age", "99999d"], 0),
        (["--max-waiting", "2"], 2),
        (["--max-age", "2h"], 2),
        (["--max-age", "99999d"], 0),
        ([], 2),  # older than a day
    ],
)
def test_backlog_beyond_its_limits_is_critical(arguments: list[str], code: int) -> None:
    status = DELIVERING | {"oldestWaitingAt": "2026-03-01T00:00:00Z"}
    assert check_of(status, *arguments).exit_code == code


def test_limit_of_no_time_at_all_is_not_the_default_of_a_day() -> None:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    status = DELIVERING | {"waiting": 1, "oldestWaitingAt": now}

    assert check_of(status).exit_code == 0
    assert check_of(status, "--max-age", "0s").exit_code == 2


def test_format_nagios_is_a_check() -> None:
    with canned_server(json.dumps(STATUS | {"deadLetters": 1}).encode()) as (port, _):
        result = run("status", "--format", "nagios", LOYALTY_AGENT__API__PORT=str(port))

    assert result.exit_code == 1
    assert result.stdout.startswith("LOYALTY AGENT WARNING: Rejected: 1 capture.")


def test_check_as_json_has_the_verdict_and_the_problems() -> None:
    result = check_of(STATUS | {"deadLetters": 1}, "--json")

    document = json.loads(result.stdout)
    assert (result.exit_code, document["verdict"], document["waiting"]) == (1, "WARNING", 3)
    assert [one["severity"] for one in document["problems"]] == ["WARNING"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-age", "2"],
        ["--max-age", "soon"],
        ["--max-waiting", "-1"],
        ["--max-waiting", "many"],
        ["--no-such-option"],
        ["--format", "xml"],
        ["--format", "prometheus"],
        ["--output", "x.prom"],
        ["surplus"],
    ],
    ids=" ".join,
)
def test_wrong_usage_of_a_check_is_unknown_and_said_on_standard_output(
    arguments: list[str],
) -> None:
    result = run("status", "--check", *arguments)

    assert result.exit_code == 3
    assert re.fullmatch(r"LOYALTY AGENT UNKNOWN: [^\n]+\n", result.stdout)


def test_wrong_usage_without_check_exits_with_2_as_everywhere() -> None:
    for arguments in (["--max-age", "2h"], ["--output", "x.prom"], ["--no-such-option"]):
        assert run("status", *arguments).exit_code == 2


def test_wrong_configuration_is_unknown(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[api]\nprot = 1\n")

    result = run("--config", str(config), "status", "--check")

    assert result.exit_code == 3
    assert result.stdout.startswith("LOYALTY AGENT UNKNOWN: ")
    assert "api.prot" in result.stdout
    assert "api.prot" in result.stderr


@AS_ROOT
def test_configuration_that_this_user_may_not_read_is_unknown(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    config.chmod(0o600)
    with as_nobody():
        result = run("--config", str(config), "status", "--check")
    assert (result.exit_code, result.stdout[:22]) == (3, "LOYALTY AGENT UNKNOWN:")


@pytest.mark.parametrize("code", [401, 403])
def test_agent_that_rejects_the_token_is_unknown(code: int) -> None:
    result = check_of({}, code=code)

    assert result.exit_code == 3
    assert "check that api.token_file is the one it was started with" in result.stdout


def test_token_file_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    with canned_server(b"{}") as (port, _):
        result = run(
            "status",
            "--check",
            LOYALTY_AGENT__API__PORT=str(port),
            LOYALTY_AGENT__API__TOKEN_FILE=str(tmp_path / "missing"),
        )
    assert (result.exit_code, result.stdout[:22]) == (3, "LOYALTY AGENT UNKNOWN:")


def test_another_program_on_the_port_is_critical() -> None:
    result = check_of([])
    assert result.exit_code == 2
    assert "another program uses its port" in result.stdout


def test_failure_of_the_check_itself_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise KeyError("a planted failure")

    monkeypatch.setattr("agent.cli.status.check.find_status", fail)
    result = run("status", "--check")
    assert result.exit_code == 3
    assert "KeyError" in result.stdout


def test_agent_that_does_not_run_is_critical_with_the_state_of_its_database(
    directory: Path,
) -> None:
    before = entries(directory)

    result = beside(directory, "--check")

    assert result.exit_code == 2
    assert result.stdout.startswith(
        "LOYALTY AGENT CRITICAL: Captures are not recorded: the agent does not run."
    )
    assert "Connection refused" in result.stdout
    assert "waiting=3;;;0;" in result.stdout
    assert "dead_letters=1;" in result.stdout
    assert entries(directory) == before


def test_status_of_an_agent_that_does_not_run_is_that_of_its_database(directory: Path) -> None:
    result = beside(directory, "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert "cannot reach the agent" in result.stderr
    assert document["storage"]["state"] == "not running"
    assert (document["waiting"], document["deadLetters"], document["tillId"]) == (3, 1, "till-1")
    assert beside(directory).stdout.splitlines()[0].startswith("version: ")


def test_nothing_is_created_where_there_is_no_database(tmp_path: Path) -> None:
    result = beside(tmp_path / "state", "--check")

    assert result.exit_code == 2
    assert f"there is no database in {tmp_path / 'state'}" in result.stdout
    assert "waiting=U;" in result.stdout
    assert list(tmp_path.iterdir()) == []


def copy_of_a_killed_agent(tmp_path: Path, *, with_index: bool) -> Path:
    """Return the files of an agent at the moment of a kill: its captures are in the log only."""
    killed = tmp_path / "killed"
    with opened(tmp_path / "live") as store:
        record(store, session(), session("two"))
        ignored = shutil.ignore_patterns() if with_index else shutil.ignore_patterns("*-shm")
        shutil.copytree(tmp_path / "live", killed, ignore=ignored)
    assert wal_of(killed / DATABASE_FILE).stat().st_size
    return killed


@pytest.mark.parametrize("with_index", [True, False])
def test_nothing_is_created_beside_the_log_of_a_killed_agent(
    tmp_path: Path,
    with_index: bool,  # noqa: FBT001 - a case
) -> None:
    killed = copy_of_a_killed_agent(tmp_path, with_index=with_index)
    before = {name for name, _, _ in entries(killed)}

    result = beside(killed, "--check")

    assert result.exit_code == 2
    assert (
        "waiting=2;" if with_index else "its log is read when the agent starts"
    ) in result.stdout
    assert {name for name, _, _ in entries(killed)} == before


@AS_ROOT
def test_user_without_rights_is_told_so(directory: Path) -> None:
    directory.chmod(0o700)
    with as_nobody():
        result = beside(directory, "--check")
    assert result.exit_code == 2, result.output
    assert "this user may not read" in result.stdout


def test_damaged_database_of_an_agent_that_does_not_run_is_no_failure(directory: Path) -> None:
    (directory / DATABASE_FILE).write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    result = beside(directory, "--check")
    assert result.exit_code == 2
    assert "its database cannot be read" in result.stdout


def test_metrics_of_an_agent_that_does_not_run_have_the_names_of_a_running_one(
    directory: Path,
) -> None:
    result = beside(directory, "--format", "prometheus")

    samples = {name: value for (name, _), value in parse_samples(result.stdout.encode()).items()}
    assert result.exit_code == 0
    assert samples["loyalty_agent_ready"] == 0
    assert samples["loyalty_agent_waiting_events"] == 3
    assert samples["loyalty_agent_dead_letters"] == 1


def test_metrics_of_a_running_agent_are_its_own() -> None:
    text = (
        b"# HELP loyalty_agent_ready x\n# TYPE loyalty_agent_ready gauge\nloyalty_agent_ready 1.0\n"
    )
    with canned_server(text) as (port, requests):
        result = run("status", "--format", "prometheus", LOYALTY_AGENT__API__PORT=str(port))
    assert (result.exit_code, result.stdout.encode()) == (0, text)
    assert requests == ["/metrics -"]


def test_file_of_metrics_is_replaced_whole_and_readable_for_the_collector(
    directory: Path, tmp_path: Path
) -> None:
    output = tmp_path / "textfile" / "loyalty.prom"
    output.parent.mkdir()
    output.write_text("old\n")
    number = output.stat().st_ino

    result = beside(directory, "--format", "prometheus", "--output", str(output))

    assert (result.exit_code, result.stdout) == (0, "")
    assert output.stat().st_ino != number
    assert stat.S_IMODE(output.stat().st_mode) == 0o644
    assert output.read_text().endswith("\n")
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize(("name", "code"), [("loyalty.txt", 2), ("missing/loyalty.prom", 1)])
def test_file_that_no_collector_would_read_is_refused(
    directory: Path, tmp_path: Path, name: str, code: int
) -> None:
    result = beside(directory, "--format", "prometheus", "--output", str(tmp_path / name))
    assert result.exit_code == code
    assert name in result.stderr

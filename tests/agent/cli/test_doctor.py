"""`loyalty-agent doctor`: output and exit codes."""

import json
from pathlib import Path

import pytest

from agent.cli import app
from sync.runtime.checks.check import Check, fault, passed, warning
from tests.support.agent.process import agent
from tests.support.processes import messages

PASS = passed("disk", "plenty")
WARNING = warning("clock", "2 min ahead", "set the clock")
FAULT = fault("port", "held by \x1b[2J[bold]nginx", "stop it")
WRONG_FILE = fault("configuration", "no file", "mend it")


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Check]:
    """Findings that the doctor returns; filled by the test."""
    checks: list[Check] = []
    monkeypatch.setattr("agent.cli.doctor.run_checks", lambda *_: checks)
    monkeypatch.setenv("LOYALTY_AGENT__STORAGE__DIRECTORY", str(tmp_path / "state"))
    return checks


def exit_code_of(*arguments: str) -> object:
    """Run the command in this process; return its exit code."""
    with pytest.raises(SystemExit) as raised:
        app(["doctor", *arguments])
    return raised.value.code


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ([PASS], 0),
        ([PASS, WARNING], 3),
        ([FAULT, PASS], 1),
        ([WARNING, FAULT], 1),
        ([WRONG_FILE, FAULT], 2),
        ([passed("configuration", "fine"), FAULT], 1),
    ],
)
def test_exit_code_tells_warnings_from_faults_and_from_a_wrong_configuration(
    findings: list[Check], checks: list[Check], code: int
) -> None:
    findings += checks

    assert exit_code_of() == code


def test_pipe_output_is_one_tab_separated_line_per_finding(
    findings: list[Check], capsys: pytest.CaptureFixture[str]
) -> None:
    findings += [PASS, WARNING, FAULT]

    exit_code_of()

    assert capsys.readouterr().out.splitlines() == [
        "pass\tdisk\tplenty\t",
        "warning\tclock\t2 min ahead\tset the clock",
        "fault\tport\theld by \\x1b[2J[bold]nginx\tstop it",
    ]


def test_json_has_the_worst_verdict_and_every_finding(
    findings: list[Check], capsys: pytest.CaptureFixture[str]
) -> None:
    findings += [PASS, WARNING]

    exit_code_of("--json")

    assert json.loads(capsys.readouterr().out) == {
        "verdict": "warning",
        "checks": [
            {"name": "disk", "verdict": "pass", "found": "plenty", "advice": ""},
            {
                "name": "clock",
                "verdict": "warning",
                "found": "2 min ahead",
                "advice": "set the clock",
            },
        ],
    }


def test_terminal_output_shows_advice_below_the_finding(
    findings: list[Check], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    findings += [PASS, FAULT, WARNING]

    exit_code_of()

    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    at = next(number for number, line in enumerate(lines) if "held by" in line)
    assert "\\x1b[2J[bold]nginx" in lines[at]
    assert "> stop it" in lines[at + 1]
    assert lines[-1] == "1 fault, 1 warning: the lines with > say how to fix them."


def test_terminal_output_reports_no_problems_without_findings(
    findings: list[Check], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    findings.append(PASS)

    exit_code_of()

    assert capsys.readouterr().out.splitlines()[-1] == "No problems found."


def test_variable_that_is_nearly_ours_is_a_warning(
    findings: list[Check], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOYALTY_AGENT_API_PORT", "9")
    findings += [PASS]

    assert exit_code_of() == 3

    assert "did you mean LOYALTY_AGENT__API__PORT?" in capsys.readouterr().out


@pytest.mark.process
def test_doctor_on_a_fresh_machine_creates_nothing(tmp_path: Path) -> None:
    state = str(tmp_path / "state")

    result = agent("doctor", "--json", LOYALTY_AGENT__STORAGE__DIRECTORY=state)

    codes = {"warning": 3, "fault": 1}
    assert (result.returncode, messages(result.stderr)) == (
        codes[json.loads(result.stdout)["verdict"]],
        "",
    )
    assert list(tmp_path.iterdir()) == []

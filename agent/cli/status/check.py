"""`status --check`: the line and the exit code of a monitoring plugin.

Every failure of the check itself is UNKNOWN (3), wrong usage and a wrong configuration included,
and is printed on standard output, which monitoring systems show.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import typer

from agent.cli.client import AGENT, AgentError, UnexpectedResponse
from agent.cli.status.source import find_status
from agent.config import ConfigurationError, Settings
from agent.monitoring.verdict import Limits, Severity, judge, plugin_line, status_line, worst
from sync.runtime.cli.printing import echo, echo_json

_OPTIONS = ("--check", "--format=nagios")


def check_status(config: Path | None, limits: Limits, *, as_json: bool) -> None:
    """Print the verdict and exit with its code."""
    with unknown_on_failure():
        settings = _settings(config)
        found = find_status(settings)
        now = datetime.now(UTC)
        findings = judge(found.members, limits, now)
        severity = worst(findings)
        if as_json:
            problems = [{"severity": one.severity.name, "text": one.text} for one in findings]
            echo_json(found.members | {"verdict": severity.name, "problems": problems}, indent=2)
        else:
            echo(plugin_line(found.members, findings, limits, now))
    raise typer.Exit(severity)


@contextlib.contextmanager
def unknown_on_failure() -> Iterator[None]:
    """Turn a failure of the check itself into UNKNOWN."""
    try:
        yield
    except typer.Exit:
        raise
    except UnexpectedResponse as error:
        # Tills get no other answer.
        _exit(Severity.CRITICAL, str(error))
    except (AgentError, ConfigurationError) as error:
        exit_unknown(str(error))
    except Exception as error:  # noqa: BLE001 - an exit code of 1 would mean WARNING
        exit_unknown(f"the check failed ({type(error).__name__}: {error})")


def exit_unknown(reason: str) -> NoReturn:
    """Print the reason as the line of a plugin and exit with 3."""
    _exit(Severity.UNKNOWN, reason)


def _exit(severity: Severity, reason: str) -> NoReturn:
    echo(status_line(severity, " ".join(reason.split())))
    raise typer.Exit(severity)


def answer_wrong_usage(message: str, words: Sequence[str]) -> None:
    """Exit with 3 for wrong usage if the words of the command line ask for a check."""
    if "status" in words and (set(_OPTIONS) & set(words) or "nagios" in words):
        exit_unknown(message)


def _settings(config: Path | None) -> Settings:
    """Load the settings; print their errors on standard output as well."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return AGENT.client_settings(config)
    except typer.Exit:
        exit_unknown(errors.getvalue().removeprefix(f"{AGENT.name}: "))
    finally:
        if words := errors.getvalue().rstrip("\n"):
            echo(words, err=True)

"""Commands speak to a person in the language of the locale, and to programs in English."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.agent.cli.test_status import STATUS, canned_server, run
from tests.support.processes import ROOT
from tests.support.terminal import run_on_terminal

COMMAND = [sys.executable, "-m", "agent"]
LETTER = {
    "epoch": "e",
    "sequence": 7,
    "errorCode": "INVALID_REQUEST",
    "errorMessage": "prompt is missing",
}


def environment(port: int, locale: str) -> dict[str, str]:
    return dict(os.environ) | {"LOYALTY_AGENT__API__PORT": str(port), "LC_ALL": locale}


def on_terminal(body: object, locale: str, *arguments: str) -> str:
    """Return what a command shows on a terminal, with one space for any white space."""
    with canned_server(json.dumps(body).encode()) as (port, _):
        shown = run_on_terminal([*COMMAND, *arguments], ROOT, environment(port, locale))
    return " ".join(shown.split())


@pytest.mark.process
@pytest.mark.slow
def test_status_is_french_on_a_terminal_of_that_locale() -> None:
    french = on_terminal(STATUS, "fr_CA.UTF-8", "status")

    assert "Les saisies sont enregistrées sur cette machine." in french
    assert "En attente : 3 saisies" in french
    assert "Saisies en attente" in french
    assert "Head office" not in french


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--check",)])
def test_output_that_programs_read_is_the_same_in_every_locale(arguments: tuple[str, ...]) -> None:
    with canned_server(json.dumps(STATUS).encode()) as (port, _):
        french, english = (
            run("status", *arguments, LOYALTY_AGENT__API__PORT=str(port), LC_ALL=locale).stdout
            for locale in ("fr_CA.UTF-8", "C")
        )

    assert french == english != ""


@pytest.mark.process
@pytest.mark.slow
def test_dead_letter_is_shown_in_french_with_the_words_of_head_office_as_they_are() -> None:
    number = f"{'0' * 8}-0000-4000-8000-{'0' * 12}/7"
    french = on_terminal(LETTER, "fr", "dead-letters", "show", number)

    assert "Saisie rejetée" in french
    assert "motif du siège prompt is missing" in french
    assert "est remise en file d'attente." in on_terminal(
        LETTER, "fr_FR", "dead-letters", "retry", number
    )


@pytest.mark.process
@pytest.mark.slow
def test_agent_that_does_not_run_is_reported_in_french_alone(tmp_path: Path) -> None:
    variables = environment(9, "fr_CA.UTF-8") | {
        "LOYALTY_AGENT__STORAGE__DIRECTORY": str(tmp_path / "none")
    }
    shown = " ".join(run_on_terminal([*COMMAND, "status"], ROOT, variables).split())

    assert "l'agent ne répond pas ; vérifiez qu'il est en marche" in shown
    assert "Les saisies ne sont pas enregistrées : l'agent n'est pas en marche." in shown
    assert "cannot reach" not in shown

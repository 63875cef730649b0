"""Commands speak to a person in the language of the locale, and to programs in English."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from typer.testing import Result

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
    assert "motif prompt is missing" in french
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


def in_french(*arguments: str, **variables: str) -> Result:
    """Run a command in a pipe, with a French locale."""
    return run(*arguments, LC_ALL="fr_CA.UTF-8", **variables)


@pytest.fixture
def unused(tmp_path: Path) -> dict[str, str]:
    """Return the variables of an agent that never ran."""
    return {
        "LOYALTY_AGENT__STORAGE__DIRECTORY": str(tmp_path / "none"),
        "LOYALTY_AGENT__API__PORT": "9",
    }


@pytest.mark.process
def test_doctor_and_its_configuration_line_are_french(unused: dict[str, str]) -> None:
    found = in_french("doctor", **unused)

    assert found.stderr.startswith("Configuration : aucune, valeurs par défaut ; données : ")
    assert "passed\tstore and till" not in found.stdout
    assert "warning\thead office\tcentral.url n'est pas défini : les saisies sont" in found.stdout
    assert "127.0.0.1 port 9 est libre" in found.stdout


@pytest.mark.process
@pytest.mark.slow
def test_doctor_is_french_throughout_on_a_terminal(unused: dict[str, str]) -> None:
    variables = dict(os.environ) | unused | {"LC_ALL": "fr_CA.UTF-8", "COLUMNS": "400"}
    shown = run_on_terminal([*COMMAND, "doctor"], ROOT, variables)

    assert "avertissement" in shown
    assert "magasin et caisse" in shown
    # The last step; one before it may be too short to be seen.
    assert "Vérification du port et du service" in shown
    assert "les lignes avec > disent comment y remédier." in shown
    assert not re.search(r"\b(the|is|are|warning|fault|set|not)\b", shown)


@pytest.mark.process
def test_findings_as_json_are_the_same_in_every_locale(unused: dict[str, str]) -> None:
    french = in_french("doctor", "--json", **unused).stdout
    english = run("doctor", "--json", LC_ALL="C", **unused).stdout

    def texts(document: str) -> list[object]:
        checks = json.loads(document)["checks"]
        return [one | {"found": re.sub("[0-9]+", "", one["found"])} for one in checks]

    assert texts(french) == texts(english)


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Affiche, renvoie et abandonne les saisies rejetées."),
        (("join",), "Rattache la machine au siège avec le code qu'il a affiché."),
        (("status",), "Affiche l'état de l'agent."),
        (("sync",), "Transmet maintenant les saisies en attente."),
        (("dead-letters",), "Affiche toutes les saisies rejetées, sans adresse de courriel."),
        (("drill",), "Simule des pannes et vérifie le résultat."),
        (("certify",), "Juge le comportement d'une caisse dans douze situations."),
    ],
)
def test_help_is_french(arguments: tuple[str, ...], words: str) -> None:
    shown = " ".join(in_french(*arguments, "--help").stdout.split())

    assert shown.startswith("Utilisation : loyalty-agent" if not arguments else "Utilisation : ")
    assert words in shown
    assert "Show this message" not in shown


@pytest.mark.process
def test_errors_of_commands_are_french(unused: dict[str, str]) -> None:
    assert "l'agent est injoignable sur 127.0.0.1 port 9" in in_french("sync", **unused).stderr
    wrong = in_french("join", "HQ1-x", **unused).stderr
    assert "ce n'est pas un code de rattachement" in wrong
    missing = in_french("dead-letters", "show", "7", **unused).stderr
    assert "« 7 » n'est pas de la forme EPOCH/SEQUENCE" in missing

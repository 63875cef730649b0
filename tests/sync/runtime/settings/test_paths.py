"""Credentials directory of a service, and of a command run beside it."""

from pathlib import Path

import pytest

from sync.runtime.settings.paths import credentials_directory

RUNNING = "run/credentials/loyalty-agent.service"
STOPPED = "etc/loyalty-agent/credentials"


@pytest.mark.parametrize(
    ("there", "found"),
    [((RUNNING, STOPPED), RUNNING), ((STOPPED,), STOPPED), ((), None)],
)
def test_command_uses_the_credentials_of_the_running_or_stopped_service(
    tmp_path: Path, there: tuple[str, ...], found: str | None
) -> None:
    for place in there:
        (tmp_path / place).mkdir(parents=True)

    directory = credentials_directory("loyalty-agent", {}, tmp_path)

    assert directory == (tmp_path / found if found else None)


def test_service_uses_the_credentials_directory_of_systemd(tmp_path: Path) -> None:
    (tmp_path / RUNNING).mkdir(parents=True)
    given = tmp_path / "given"
    given.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": str(given)}

    assert credentials_directory("loyalty-agent", environ, tmp_path) == given


def test_reload_from_which_systemd_hides_the_credentials_reads_what_the_next_start_will_load(
    tmp_path: Path,
) -> None:
    """systemd 252 names the directory to the commands of ExecReload= and masks it there."""
    (tmp_path / STOPPED).mkdir(parents=True)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / RUNNING)}

    directory = credentials_directory("loyalty-agent", environ, tmp_path)

    assert directory == tmp_path / STOPPED


def test_missing_directory_of_systemd_is_named_if_there_is_no_other(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": "/given"}

    assert credentials_directory("loyalty-agent", environ, tmp_path) == Path("/given")


def test_credentials_of_another_program_are_not_used(tmp_path: Path) -> None:
    (tmp_path / STOPPED).mkdir(parents=True)

    assert credentials_directory("loyalty-hq", {}, tmp_path) is None

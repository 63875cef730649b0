"""Where the credentials lie that settings name: for the service, and for commands beside it."""

from pathlib import Path

import pytest

from sync.runtime.settings.paths import credentials_directory

RUNNING = "run/credentials/loyalty-agent.service"
STOPPED = "etc/loyalty-agent/credentials"


@pytest.mark.parametrize(
    ("there", "found"),
    [((RUNNING, STOPPED), RUNNING), ((STOPPED,), STOPPED), ((), None)],
)
def test_command_finds_what_the_service_was_given_or_will_be(
    tmp_path: Path, there: tuple[str, ...], found: str | None
) -> None:
    for place in there:
        (tmp_path / place).mkdir(parents=True)

    directory = credentials_directory("loyalty-agent", {}, tmp_path)

    assert directory == (tmp_path / found if found else None)


def test_service_takes_its_credentials_from_where_systemd_says(tmp_path: Path) -> None:
    (tmp_path / RUNNING).mkdir(parents=True)
    environ = {"CREDENTIALS_DIRECTORY": "/given"}

    assert credentials_directory("loyalty-agent", environ, tmp_path) == Path("/given")


def test_credentials_of_another_program_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / STOPPED).mkdir(parents=True)

    assert credentials_directory("loyalty-hq", {}, tmp_path) is None

"""A pipe in place of a file that a running program reads again must not hold the program."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from sync.delivery.transports.http_client import HttpOptions, tls_context
from sync.runtime.network.own_certificate import read_end
from sync.runtime.settings.secret_files import read_secret, serving_tls
from sync.runtime.settings.setting_errors import ConfigurationError
from tests.support.certificates import make_certificate
from tests.support.patience import PATIENCE_SECONDS


def outcome_of(read: Callable[[], object]) -> object:
    """Return what `read` returns or raises; fail if it waits."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(read())
        except Exception as error:  # noqa: BLE001 - handed to the test
            outcome.append(error)

    reading = Thread(target=run, daemon=True)
    reading.start()
    reading.join(PATIENCE_SECONDS)
    assert outcome, "it waits for the pipe"
    return outcome[0]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_pipe_in_place_of_a_secret_is_an_error_that_names_it(pipe: Path) -> None:
    error = outcome_of(lambda: read_secret(pipe, "api.token_file"))

    assert isinstance(error, ConfigurationError)
    assert f"{pipe}: api.token_file: the file cannot be read (it is no regular file)" in str(error)


def test_pipe_in_place_of_the_own_certificate_or_its_key_is_an_error(
    pipe: Path, tmp_path: Path
) -> None:
    pair = make_certificate(tmp_path)

    for certificate, key in ((pipe, pair.key_file), (pair.cert_file, pipe)):
        error = outcome_of(partial(serving_tls, certificate, key, "api.tls_cert_file"))
        assert isinstance(error, ConfigurationError)
    assert outcome_of(lambda: read_end(pipe)) is None


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file", "client_key_file"])
def test_pipe_in_place_of_a_certificate_towards_head_office_is_an_error(
    pipe: Path, tmp_path: Path, setting: str
) -> None:
    pair = make_certificate(tmp_path)
    files = {"client_cert_file": pair.cert_file, "client_key_file": pair.key_file, setting: pipe}

    error = outcome_of(lambda: tls_context(HttpOptions(timeout_seconds=10.0, **files)))  # type: ignore[arg-type]

    assert isinstance(error, OSError)
    assert "no regular file" in str(error)

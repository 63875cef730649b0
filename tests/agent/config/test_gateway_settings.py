"""Settings for a proxy with a password, and for token endpoints as gateways run them."""

import time
from pathlib import Path

import pytest

from agent.config import ConfigurationError, Settings, load_settings
from agent.config.central import ClientAuth
from agent.uplink import central_connection
from sync.delivery.transports.http_client import HttpClient
from sync.delivery.transports.oauth import ClientCredentials
from sync.runtime.settings.secret_files import find_file_errors

OAUTH = """
[central.auth]
kind = "oauth2"
token_url = "https://id.example/token"
client_id = "pos"
client_secret_file = "secret"
"""


def loaded(directory: Path, text: str, **variables: str) -> Settings:
    (directory / "config.toml").write_text(text)
    return load_settings(directory / "config.toml", {"HOME": str(directory), **variables})


def error_in(directory: Path, text: str, **variables: str) -> str:
    with pytest.raises(ConfigurationError) as found:
        loaded(directory, text, **variables)
    return str(found.value)


def test_proxy_settings_reach_the_client(tmp_path: Path) -> None:
    proxy = 'proxy = "http://proxy.example:3128"\nproxy_user = "pos"\nproxy_password_file = "p"\n'
    options = central_connection.http_options(loaded(tmp_path, f"[central]\n{proxy}"))
    assert (options.proxy_user, options.proxy_password_file) == ("pos", tmp_path / "p")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("proxy_user = 'pos'", "central.proxy_user: also needs proxy_password_file"),
        ("proxy_password_file = 'p'", "central.proxy_password_file: also needs proxy_user"),
        ("proxy_user = 'pos'\nproxy_password_file = 'p'", "central.proxy_user: also needs proxy"),
        ("proxy_user = 'pos:s3cret'", 'without ":"'),
    ],
)
def test_proxy_settings_that_do_not_work_are_named(
    tmp_path: Path, lines: str, message: str
) -> None:
    error = error_in(tmp_path, f"[central]\n{lines}\n")
    assert message in error
    assert "s3cret" not in error


def test_password_may_be_a_credential_and_is_checked_as_one_line(tmp_path: Path) -> None:
    (tmp_path / "central-proxy-password").write_text("one\ntwo\n")
    text = (
        '[central]\nproxy = "http://proxy.example:3128"\nproxy_user = "pos"\n'
        'proxy_password_file = "credential:central-proxy-password"\n'
    )
    settings = loaded(tmp_path, text, CREDENTIALS_DIRECTORY=str(tmp_path))
    [error] = find_file_errors(settings)
    assert error.setting == "central.proxy_password_file"
    assert "more than one line" in error.message


async def test_oauth_settings_reach_the_client(tmp_path: Path) -> None:
    text = f'{OAUTH}client_auth = "post"\nparameters = {{ audience = "https://loyalty.example" }}\n'
    settings = loaded(tmp_path, text)
    http = HttpClient(central_connection.http_options(settings))
    found = central_connection.credentials(settings, http)
    assert isinstance(found, ClientCredentials)
    assert settings.central.auth.client_auth is ClientAuth.POST
    assert found.client.secret_in_form
    assert found.client.parameters == {"audience": "https://loyalty.example"}


def test_parameters_may_be_a_table_or_a_variable(tmp_path: Path) -> None:
    table = "[central.auth.parameters]\naudience = 'a'\nresource = 'urn:b'\n"
    expected = {"audience": "a", "resource": "urn:b"}
    variable = {"LOYALTY_AGENT__CENTRAL__AUTH__PARAMETERS": "audience=a, resource=urn:b"}
    for settings in (loaded(tmp_path, table), loaded(tmp_path, "", **variable)):
        assert settings.central.auth.parameters == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'client_auth = "jwt"',
            'line 2: central.auth.client_auth: expected one of "basic", "post"',
        ),
        ("parameters = 'audience'", "line 2: central.auth.parameters: expected a table of texts"),
        ("parameters = {audience = 5}", "expected a table of texts"),
        ("parameters = {scope = 'a'}", "scope: this has a setting of its own"),
    ],
)
def test_wrong_oauth_settings_are_named(tmp_path: Path, line: str, message: str) -> None:
    error = error_in(tmp_path, f"[central.auth]\n{line}\n")
    assert message in error
    assert "s3cret" not in error


@pytest.mark.parametrize(
    "name",
    ["client_secret", "password", "client_assertion", "assertion", "refresh_token", "api-key"],
)
def test_parameter_that_holds_a_secret_is_refused(tmp_path: Path, name: str) -> None:
    error = error_in(tmp_path, f"[central.auth]\nparameters = {{{name} = 's3cret'}}\n")
    assert f"line 2: central.auth.parameters: {name} would be a secret in clear text" in error
    assert "client_secret_file" in error
    assert "s3cret" not in error


def test_parameter_that_names_a_kind_of_secret_is_allowed(tmp_path: Path) -> None:
    parameters = {"requested_token_type": "urn:x", "client_assertion_type": "urn:y"}
    table = "[central.auth.parameters]\n" + "".join(
        f"{name} = '{value}'\n" for name, value in parameters.items()
    )
    assert loaded(tmp_path, table).central.auth.parameters == parameters


def test_variable_that_is_no_table_is_named(tmp_path: Path) -> None:
    variable = {"LOYALTY_AGENT__CENTRAL__AUTH__PARAMETERS": "audience"}
    assert "expected a table of texts" in error_in(tmp_path, "", **variable)


def test_life_of_a_token_counts_the_time_asleep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLOCK_MONOTONIC stands still while the machine sleeps, CLOCK_BOOTTIME does not."""
    clocks = {time.CLOCK_BOOTTIME: 90_000.0}
    monkeypatch.setattr(time, "clock_gettime", clocks.__getitem__)
    settings = loaded(tmp_path, OAUTH)
    found = central_connection.credentials(
        settings, HttpClient(central_connection.http_options(settings))
    )
    assert isinstance(found, ClientCredentials)
    assert found.seconds() == 90_000.0

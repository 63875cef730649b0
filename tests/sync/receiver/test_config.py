"""Validation of the receiver's settings, and the messages for operators."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sync.receiver.config import Settings, load_settings
from sync.runtime.settings.names import dotted, known_settings, variable
from sync.runtime.settings.setting_errors import ConfigurationError, expectation
from sync.runtime.settings.toml_lines import SettingPath

HOME = {"HOME": "/home/clerk"}
SETTINGS = sorted(known_settings(Settings))


def from_text(directory: Path, text: str, environ: Mapping[str, str] = HOME) -> Settings:
    file = directory / "hq.toml"
    file.write_text(text, "utf-8")
    return load_settings(file, environ)


def refusal(directory: Path, text: str, environ: Mapping[str, str] = HOME) -> str:
    """Return the error message for this file, without its directory."""
    with pytest.raises(ConfigurationError) as raised:
        from_text(directory, text, environ)
    return str(raised.value).replace(f"{directory}/", "")


def test_defaults_serve_this_machine_only() -> None:
    settings = load_settings(None, HOME)

    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8580)
    assert settings.access.admin_token_file is None
    assert settings.access.trusted_proxy_header == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[server]\n\nprot = 1",
            "hq.toml, line 3: server.prot: there is no such setting; did you mean server.port?",
        ),
        ("port = 1", "line 1: port: there is no such setting; did you mean server.port?"),
        ("#\n[intak]\nx = 1", "line 2: intak: there is no such section; did you mean intake?"),
        (
            "[access]\nadmin_token = 'x'",
            "access.admin_token: there is no such setting; did you mean access.admin_token_file?",
        ),
    ],
)
def test_unknown_name_is_reported_with_line_and_suggestion(
    tmp_path: Path, text: str, told: str
) -> None:
    assert told in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server.port = 65536", "line 1: server.port: expected a whole number from 0 to 65535"),
        ("server.host = 'hq.example'", "expected an IP address of this machine, or"),
        ("intake.max_in_flight = 0", "expected a whole number from 1 to 10000; found 0"),
        ("intake.events_per_second = -1", "expected a whole number from 0 to 10000000; found -1"),
        ("intake.events_per_second = true", "expected a whole number from 0 to 10000000"),
        ("access.trusted_proxy_header = 'a b'", "expected the name of an HTTP header"),
        ("storage.directory = ''", "expected a path in quotes"),
        ("retention.days = 30", "retention.days: expected 0, or at least 35: an agent may be"),
        ("program.currency = 'dollars'", "expected an ISO 4217 code of three capitals"),
        ("database.url = 'mysql://hq'", "database.url: expected a URL with a whole path, such as"),
        ("database.url = 'sqlite+aiosqlite:///'", "expected a URL with a whole path, such as"),
        ("database.url = 'sqlite+aiosqlite:///hq.db'", "such as sqlite+aiosqlite:////srv/hq.db"),
        ("database.url = '/srv/hq.db'", "expected a URL with a whole path, such as"),
        ("database.url = 'postgresql+asyncpg://hq:port/hq'", "and a port from 1 to 65535"),
        ("database.url = 'postgresql+asyncpg://hq:99999/hq'", "and a port from 1 to 65535"),
        ("database.password_file = '/p'", "password_file: also needs database.url of a server"),
        (
            "database.url = 'postgresql+asyncpg://a:b@hq/hq'",
            "database.url: put its password into a file: database.password_file",
        ),
        (
            "database.url = 'postgresql+asyncpg://hq/hq?password=b'",
            "database.url: put its password into a file: database.password_file",
        ),
    ],
)
def test_invalid_value_is_reported_with_the_expected_one(
    tmp_path: Path, text: str, told: str
) -> None:
    assert told in refusal(tmp_path, text)


def test_tls_may_be_terminated_by_a_proxy_on_another_machine(tmp_path: Path) -> None:
    """The receiver logs a warning at start; agents only send over https."""
    assert from_text(tmp_path, "server.host = '0.0.0.0'").server.tls_cert_file is None


def test_listening_on_the_network_with_tls_is_valid(tmp_path: Path) -> None:
    text = "[server]\nhost = '0.0.0.0'\ntls_cert_file = 'c'\ntls_key_file = 'k'\n"

    assert from_text(tmp_path, text).server.host == "0.0.0.0"  # noqa: S104 - the case of the test


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"])
def test_loopback_needs_no_tls(tmp_path: Path, host: str) -> None:
    assert from_text(tmp_path, f"server.host = '{host}'").server.tls_cert_file is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[server]\n\ntls_cert_file = 'c'",
            "line 3: server.tls_cert_file: also needs server.tls_key_file",
        ),
        ("server.tls_key_file = 'k'", "server.tls_key_file: also needs server.tls_cert_file"),
    ],
)
def test_certificate_without_key_is_reported(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "[access]\nadmin_token = 's3cret'",
        "[access]\nadmin_token_file = ['s3cret']",
        "[server]\ntls_key_file = ['s3cret']",
        "[database]\nurl = 'postgresql://clerk:s3cret@db.example/hq'",
        "[database]\nurl = ['postgresql://clerk:s3cret@db.example/hq']",
        "[database]\npassword = 's3cret'",
        "[database]\nurl = 'postgresql+asyncpg://clerk:s3cret@db.example/hq'",
        "[database]\nurl = 'postgresql+asyncpg://db.example/hq?password=s3cret'",
    ],
)
def test_secrets_are_never_repeated_in_messages(tmp_path: Path, text: str) -> None:
    assert "s3cret" not in refusal(tmp_path, text)


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    text = "[server]\nport = -1\nhost = 'x'\n[intake]\nmax = 1\n"

    told = refusal(tmp_path, text, {"LOYALTY_HQ__LOG__LEVEL": "loud", **HOME})

    head, *lines = told.splitlines()
    assert head == "4 errors in the configuration:"
    assert [line.split(": ")[1] for line in lines] == [
        "server.port",
        "server.host",
        "intake.max",
        "log.level",
    ]


def test_agent_variables_are_ignored() -> None:
    load_settings(None, {"LOYALTY_AGENT__API__PORT": "1", **HOME})


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    settings = from_text(tmp_path, "server.port = 1", {"LOYALTY_HQ__SERVER__PORT": "2", **HOME})

    assert settings.server.port == 2


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "/home/clerk/.local/state/loyalty-hq/hq.db"),
        ("storage.directory = '/srv/hq'", "/srv/hq/hq.db"),
        ("database.url = 'sqlite+aiosqlite:////srv/other.db'", "/srv/other.db"),
    ],
)
def test_database_is_in_the_storage_directory_by_default(
    tmp_path: Path, text: str, path: str
) -> None:
    assert from_text(tmp_path, text).database_path == Path(path)


def test_every_setting_has_a_description_and_a_range() -> None:
    for path, field in known_settings(Settings).items():
        assert field.description, path
        assert expectation(field), path


@given(path=st.sampled_from(SETTINGS), data=st.data())
def test_any_typo_is_reported_with_the_intended_setting(
    path: SettingPath, data: st.DataObject
) -> None:
    name = path[-1]
    assume(len(name) > 4)
    at = data.draw(st.integers(1, len(name) - 2))
    wrong = (*path[:-1], name[:at] + name[at + 1 :])
    assume(wrong not in known_settings(Settings))

    with pytest.raises(ConfigurationError) as raised:
        load_settings(None, {variable(Settings, wrong): "1", **HOME})

    assert dotted(wrong) in str(raised.value)
    assert variable(Settings, path) in str(raised.value)

"""Validation of the receiver's settings, and the messages for operators."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sync.receiver.config import ReceiverSettings, load_settings
from sync.runtime.settings.setting_errors import ConfigurationError

HOME = {"HOME": "/home/clerk"}


def from_text(directory: Path, text: str, environ: Mapping[str, str] = HOME) -> ReceiverSettings:
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
    ("text", "message"),
    [
        ("#\n[intak]\nx = 1", "line 2: intak: there is no such section; did you mean intake?"),
        (
            "[access]\nadmin_token = 'x'",
            "access.admin_token: there is no such setting; did you mean access.admin_token_file?",
        ),
    ],
)
def test_unknown_name_is_reported_with_line_and_suggestion(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("intake.max_in_flight = 0", "expected a whole number from 1 to 10000; found 0"),
        ("intake.events_per_second = -1", "expected a whole number from 0 to 10000000; found -1"),
        ("intake.events_per_second = true", "expected a whole number from 0 to 10000000"),
        ("access.trusted_proxy_header = 'a b'", "expected the name of an HTTP header"),
        ("access.trusted_proxies = ['proxy']", "expected addresses or networks, such as"),
        ("access.trusted_proxies = ['10.0.0.1/8']", "expected addresses or networks, such as"),
        ("access.trusted_proxies = ['0.0.0.0/0']", "expected the addresses of the proxies, not"),
        ("access.trusted_proxies = ['::/0']", "expected the addresses of the proxies, not"),
        ("access.trusted_proxies = '192.0.2.1'", "expected a list of addresses or networks"),
        ("access.open_on_loopback = 'yes, please'", "expected true or false"),
        ("retention.days = 30", "retention.days: expected 0, or at least 35: an agent may be"),
        (
            "database.url = 'mysql://hq'",
            "database.url: expected a URL with an absolute path, such as",
        ),
        ("database.url = 'sqlite+aiosqlite:///'", "expected a URL with an absolute path, such as"),
        ("database.url = 'sqlite+aiosqlite:///hq.db'", "such as sqlite+aiosqlite:////srv/hq.db"),
        ("database.url = '/srv/hq.db'", "expected a URL with an absolute path, such as"),
        ("database.url = 'postgresql+asyncpg://hq:port/hq'", "and a port from 1 to 65535"),
        ("database.url = 'postgresql+asyncpg://hq:99999/hq'", "and a port from 1 to 65535"),
        ("database.password_file = '/p'", "password_file: also needs database.url of a server"),
        ("database.url = 'postgresql+asyncpg://a,b:99999/hq'", "and a port from 1 to 65535"),
        ("database.url = 'postgresql+asyncpg://a,,b/hq'", "expected [user@]host[:port]/database"),
        (
            "database.url = 'postgresql+asyncpg://a,b/hq?host=c'",
            "database.url: name the hosts in one place: before the database, or as options",
        ),
        (
            "database.url = 'postgresql+asyncpg:///hq?host=a:1&host=b'",
            "database.url: expected host=one:5432&host=two:5432, each with its port",
        ),
        (
            "database.url = 'postgresql+asyncpg://hq/hq?sslmode=require'",
            'database.url: there is no option "sslmode" in the URL; did you mean ssl?',
        ),
        (
            "database.url = 'postgresql+asyncpg://hq/hq?target_session_atrs=any'",
            'there is no option "target_session_atrs" in the URL; did you mean target_s',
        ),
        (
            "database.url = 'postgresql+asyncpg://hq/hq?ssl=yes'",
            "database.url: expected ssl to be one of disable, allow, prefer, require, verify-ca",
        ),
        (
            "database.url = 'postgresql+asyncpg://hq/hq?ssl=allow&ssl=require'",
            'database.url: the option "ssl" stands twice in the URL',
        ),
        (
            "database.url = 'postgresql+asyncpg://a,b/hq?target_session_attrs=standby'",
            "one of any, read-write, primary: head office writes; found standby",
        ),
        (
            "database.url = 'postgresql+asyncpg://hq/hq?prepared_statement_cache_size=-1'",
            "expected prepared_statement_cache_size to be a whole number; found -1",
        ),
        (
            "database.url = 'postgresql+asyncpg://a:b@hq/hq'",
            "database.url: put the password into the file database.password_file",
        ),
        (
            "database.url = 'postgresql+asyncpg://hq/hq?password=b'",
            "database.url: put the password into the file database.password_file",
        ),
    ],
)
def test_invalid_value_is_reported_with_the_expected_one(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in refusal(tmp_path, text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104 - the case
def test_listening_on_the_network_without_tls_is_refused(tmp_path: Path, host: str) -> None:
    """The tokens of agents and readers would pass in the clear."""
    message = refusal(tmp_path, f"[server]\nhost = '{host}'")

    assert f"hq.toml, line 2: server.host: listening on {host} without TLS" in message
    assert "server.behind_proxy = true" in message


def test_tls_may_be_terminated_by_a_proxy_in_front(tmp_path: Path) -> None:
    text = "server = {host = '0.0.0.0', behind_proxy = true}"

    assert from_text(tmp_path, text).server.tls_cert_file is None


def test_proxy_header_without_the_addresses_of_the_proxy_is_refused(tmp_path: Path) -> None:
    """Any client that reaches the port could send the header."""
    message = refusal(tmp_path, "[access]\ntrusted_proxy_header = 'X-User'")

    assert "line 2: access.trusted_proxy_header: also needs access.trusted_proxies" in message


@pytest.mark.parametrize(
    "text",
    [
        "access = {open_on_loopback = true, trusted_proxies = ['127.0.0.1']}",
        "access.open_on_loopback = true\nserver.behind_proxy = true",
    ],
)
def test_behind_a_proxy_no_reader_is_local(tmp_path: Path, text: str) -> None:
    message = refusal(tmp_path, text)

    assert "line 1: access.open_on_loopback: not possible behind a proxy" in message


def test_listening_on_the_network_with_tls_is_valid(tmp_path: Path) -> None:
    text = "[server]\nhost = '0.0.0.0'\ntls_cert_file = 'c'\ntls_key_file = 'k'\n"

    assert from_text(tmp_path, text).server.host == "0.0.0.0"  # noqa: S104 - the case of the test


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'prompt = "\\u001b@"',
            "program.prompt: contains a control character: agents would refuse",
        ),
        ('prompt = "A\\nB"', "program.prompt: contains a control character"),
        (
            f"messages.fr-CA.anonymous_prompt = '{'A' * 2_001}'",
            "program.messages.fr-CA.anonymous_prompt: has more than 2,000 characters",
        ),
        (
            "rules.min_redeem_amount = 101",
            "line 2: program.rules.min_redeem_amount: is more than max_redeem_amount",
        ),
    ],
)
def test_program_terms_that_agents_would_refuse_are_refused_at_start(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in refusal(tmp_path, f"[program]\n{text}")


def test_program_without_redemption_is_valid(tmp_path: Path) -> None:
    settings = from_text(tmp_path, "[program.rules]\nmax_redeem_points = 0\nmax_redeem_amount = 0")
    assert settings.program.terms().rules.max_redeem_points == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"])
def test_loopback_needs_no_tls(tmp_path: Path, host: str) -> None:
    assert from_text(tmp_path, f"server.host = '{host}'").server.tls_cert_file is None


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

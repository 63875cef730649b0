"""Validation of the agent's settings, and its error messages."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.config import ConfigurationError, load_settings

HOME = {"HOME": "/home/clerk"}


def refusal(directory: Path, text: str, environ: Mapping[str, str] = HOME) -> str:
    """Return the error message of loading `text`, without the directory of the file."""
    file = directory / "agent.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError) as raised:
        load_settings(file, environ)
    return str(raised.value).replace(f"{directory}/", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[api]\nstore_id = 1",
            ("line 2: api.store_id: there is no such setting; did you mean store.store_id?"),
        ),
        ("[auth]\nkind = 1", "line 1: auth: there is no such section; did you mean central.auth?"),
        (
            "[central.auth]\ntoken = 'x'",
            (
                "central.auth.token: there is no such setting; did you"
                " mean central.auth.token_file or central.auth.token_url?"
            ),
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
        (
            "[api]\nallowed_hosts = [\n'a',\n'b:80']",
            ("line 2: api.allowed_hosts: expected host names or IP addresses alone"),
        ),
        ("api.allowed_hosts = 'a'", "expected a list of host names in quotes"),
        ("api.cors_origins = ['*']", '"*" is not allowed: any web page open on the POS machine'),
        ("api.cors_origins = ['https://a/b']", "expected origins of the form"),
        ("store.store_id = 'a b'", "expected 1 to 64 of the characters"),
        ("store.store_id = '..'", "expected 1 to 64 of the characters"),
        ("store.store_id = 42", "expected text in quotes; found 42"),
        ("storage.max_bytes = 1000", "expected a whole number from 16777216 to"),
        ("central.url = 'http://central.example'", "http:// is allowed only for this machine"),
        ("central.url = 'central.example'", "expected a URL such as"),
        ("central.url = 'https://h:99999'", "expected a URL such as"),
        ("central.url = 'https://h/?a=b'", "expected a URL without ? and #"),
        ("central.proxy = 'http://proxy/path'", "without a path"),
        ("central.protocol = 'soap'", 'expected one of "batch", "replay"'),
        ("central.auth.header_name = 'a b'", "expected the name of an HTTP header"),
        ("sync.interval_seconds = 0", "expected a number from 1 to 86400; found 0"),
        ("sync.batch_events = 5001", "expected a whole number from 1 to 5000; found 5001"),
        ("sync.quiet_hours = '22-6'", "expected two different times"),
        ("sync.quiet_hours = '22:00-22:00'", "expected two different times"),
        ("email.check_syntax = 'perhaps'", "expected true or false"),
        ("program.rules.min_redeem_points = -1", "from 0 to 1000000000000000; found -1"),
        ("program.rules.min_redeem_points = nan", "expected a number from 0 to 1000000000000000"),
    ],
)
def test_invalid_value_is_reported_with_expected_and_found(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[api]\nhost = '0.0.0.0'",
            ("line 2: api.host: listening on 0.0.0.0 requires both a token and TLS"),
        ),
        ("[api]\nhost = '::'\ntoken_file = 't'", "Set api.tls_cert_file, api.tls_key_file"),
        (
            "[api]\nhost = '10.0.0.1'\ntls_cert_file = 'c'\ntls_key_file = 'k'",
            "Set api.token_file, or",
        ),
        ("central.client_key_file = 'k'", "also needs client_cert_file"),
        (
            "[sync]\nbackoff_cap_seconds = 0.5",
            (
                "line 2: sync.backoff_cap_seconds:"
                " backoff_base_seconds (1) is more than backoff_cap_seconds (0.5)"
            ),
        ),
        (
            "[central.auth]\nkind = 'bearer'",
            ('line 2: central.auth.kind: "bearer" also needs token_file'),
        ),
        ("[central.auth]\nkind = 'header'\nheader_name = 'X-Key'", "also needs header_value_file"),
        ("[central.auth]\nkind = 'oauth2'", "also needs token_url, client_id, client_secret_file"),
    ],
)
def test_contradicting_settings_are_reported(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(tmp_path, text)


def test_listening_on_all_addresses_is_allowed_with_token_and_tls(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        "[api]\nhost = '0.0.0.0'\ntoken_file = 't'\ntls_cert_file = 'c'\ntls_key_file = 'k'\n"
    )

    assert load_settings(file, HOME).api.host == "0.0.0.0"  # noqa: S104 - the case under test


@pytest.mark.parametrize(
    "text",
    [
        "[central.auth]\ntoken = 's3cret'",
        "[central.auth]\ntoken_file = ['s3cret']",
        "[central.auth]\nclient_secret_file = {a = 's3cret'}",
        "[central]\nauth = 's3cret'",
        "[api]\ntls_key_file = ['s3cret']",
        "header_value = 's3cret'",
        "password = 's3cret'",
        "[central]\nurl = 'https://clerk:s3cret@central.example/'",
        "[central]\nproxy = 'http://clerk:s3cret@proxy/'",
        "[central]\nproxy = 'ftp://clerk:s3cret@proxy/'",
    ],
)
def test_possible_secret_is_never_repeated_in_a_message(tmp_path: Path, text: str) -> None:
    assert "s3cret" not in refusal(tmp_path, text)

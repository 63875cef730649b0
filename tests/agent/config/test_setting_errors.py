"""Error messages for an invalid configuration."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.config import ConfigurationError, Settings, load_settings
from sync.runtime.settings.names import dotted, known_settings, variable
from sync.runtime.settings.toml_lines import SettingPath

HOME = {"HOME": "/home/clerk"}


def refusal(directory: Path, text: str, environ: Mapping[str, str] = HOME) -> str:
    """Return the error message of loading `text`, without the directory of the file."""
    file = directory / "agent.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError) as raised:
        load_settings(file, environ)
    return str(raised.value).replace(f"{directory}/", "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[api]\n\nprot = 1",
            ("agent.toml, line 3: api.prot: there is no such setting; did you mean api.port?"),
        ),
        ("port = 1", "line 1: port: there is no such setting; did you mean api.port?"),
        (
            "[api]\nstore_id = 1",
            ("line 2: api.store_id: there is no such setting; did you mean store.store_id?"),
        ),
        (
            "#\n[sotrage]\nmax_bytes = 1",
            ("line 2: sotrage: there is no such section; did you mean storage?"),
        ),
        ("[auth]\nkind = 1", "line 1: auth: there is no such section; did you mean central.auth?"),
        ("[program.messages.de]\nprompt = ''", "there are: program.messages.en-CA,"),
        ("[api]\nzzzz = 1", "api.zzzz: there is no such setting; there are: api.host, api.port"),
        ("API.port = 1", "line 1: API: there is no such section; did you mean api?"),
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
    tmp_path: Path, text: str, told: str
) -> None:
    assert told in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[api]\nport = 70000",
            ("line 2: api.port: expected a whole number from 0 to 65535; found 70000"),
        ),
        ("api.port = 'x'", 'line 1: api.port: expected a whole number from 0 to 65535; found "x"'),
        ("api.port = true", "expected a whole number from 0 to 65535; found true"),
        ("api = 5", "line 1: api: expected a section [api]; found a single value"),
        ("api.port = {a = 1}", "expected a whole number from 0 to 65535; found a table"),
        ("api.host = 'pos.example'", "expected an IP address of this machine, or"),
        (
            "[api]\nallowed_hosts = [\n'a',\n'b:80']",
            ("line 2: api.allowed_hosts: expected host names or IP addresses alone"),
        ),
        ("api.allowed_hosts = 'a'", "expected a list of host names in quotes"),
        ("api.cors_origins = ['*']", '"*" is refused: any page open in a browser'),
        ("api.cors_origins = ['https://a/b']", "expected origins of the form"),
        ("store.store_id = 'a b'", "expected 1 to 64 of the characters"),
        ("store.store_id = '..'", "expected 1 to 64 of the characters"),
        ("store.store_id = 42", "expected text in quotes; found 42"),
        ("storage.max_bytes = 1000", "expected a whole number from 16777216 to"),
        ("storage.directory = ''", "expected a path in quotes"),
        ("storage.directory = '~/data'", 'written out in full (no "~")'),
        ('storage.directory = "a\\u0000b"', "expected a path, written out in full"),
        ("program.locale = 'de-DE'", 'expected one of "en-CA", "en-US", "fr-CA"; found "de-DE"'),
        ("program.currency = 'dollars'", "expected an ISO 4217 code of three capitals"),
        ("program.rules.min_redeem_points = inf", "expected a number from 0 to"),
        ("program.rules.min_redeem_points = -1", "expected a number from 0 to"),
        ("program.rules.min_redeem_points = nan", "expected a number from 0 to"),
        ("central.url = 'http://central.example'", "plain http:// only to this machine itself"),
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
        ("log.level = 'loud'", 'expected one of "debug", "info", "warning", "error"; found "loud"'),
    ],
)
def test_invalid_value_is_reported_with_expected_and_found(
    tmp_path: Path, text: str, told: str
) -> None:
    assert told in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[api]\nhost = '0.0.0.0'",
            ("line 2: api.host: listening on 0.0.0.0 is refused without both a token and TLS"),
        ),
        ("[api]\nhost = '::'\ntoken_file = 't'", "set api.tls_cert_file, api.tls_key_file"),
        (
            "[api]\nhost = '10.0.0.1'\ntls_cert_file = 'c'\ntls_key_file = 'k'",
            "set api.token_file, or",
        ),
        ("[api]\n\ntls_cert_file = 'c'", "line 3: api.tls_cert_file: also needs api.tls_key_file"),
        ("[api]\ntls_key_file = 'k'", "api.tls_key_file: also needs api.tls_cert_file"),
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
def test_contradicting_settings_are_reported(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(tmp_path, text)


def test_listening_on_all_addresses_is_allowed_with_token_and_tls(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        "[api]\nhost = '0.0.0.0'\ntoken_file = 't'\ntls_cert_file = 'c'\ntls_key_file = 'k'\n"
    )

    assert load_settings(file, HOME).api.host == "0.0.0.0"  # noqa: S104 - the case under test


def test_all_errors_are_reported_together_in_file_order(tmp_path: Path) -> None:
    text = "[log]\nlevel = 'loud'\n[api]\nport = -1\nprot = 1\n"

    told = refusal(tmp_path, text, {"LOYALTY_AGENT__SYNC__BATCH_EVENTS": "many", **HOME})

    head, *lines = told.splitlines()
    assert head == "4 errors in the configuration:"
    assert [line.split(": ")[1] for line in lines] == [
        "log.level",
        "api.port",
        "api.prot",
        "sync.batch_events",
    ]


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


def test_syntax_error_is_reported_with_its_line(tmp_path: Path) -> None:
    assert "agent.toml, line 2: not TOML: " in refusal(tmp_path, "[api]\nport =\n")


def test_unterminated_string_is_reported_with_the_last_line(tmp_path: Path) -> None:
    assert "agent.toml, line 3: not TOML: " in refusal(tmp_path, 'a = """\n\nb')


def test_invalid_utf8_is_reported_with_its_line(tmp_path: Path) -> None:
    assert "line 2: this is not UTF-8 text" in refusal(tmp_path, "#\nfid\udce9lit\udce9 = 1\n")


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"absent\.toml: the file cannot be read \(No such"
    ):
        load_settings(tmp_path / "absent.toml", HOME)


def test_locale_given_in_two_spellings_is_reported(tmp_path: Path) -> None:
    text = "[program.messages]\nfr-CA.prompt = ''\nfr_ca.prompt = ''\n"

    assert "program.messages.fr-CA: this locale is given twice" in refusal(tmp_path, text)


def test_credential_path_without_systemd_is_reported(tmp_path: Path) -> None:
    told = refusal(tmp_path, "api.token_file = 'credential:x'")

    assert "line 1: api.token_file:" in told
    assert "$CREDENTIALS_DIRECTORY" in told


def test_credential_path_cannot_leave_its_directory(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": "/run/credentials/x", **HOME}

    told = refusal(tmp_path, "api.token_file = 'credential:../x'", environ)

    assert "the name of one credential" in told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("LOYALTY_AGENT__API__PROT", "did you mean LOYALTY_AGENT__API__PORT?"),
        ("LOYALTY_AGENT__PORT", "did you mean LOYALTY_AGENT__API__PORT?"),
        ("LOYALTY_AGENT__API", "this is a section"),
        ("LOYALTY_AGENT__API__PORT__X", "there is no such setting"),
        ("LOYALTY_AGENT__", "there is no such setting"),
    ],
)
def test_unknown_variable_is_reported_without_its_value(name: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_settings(None, {name: "s3cret", **HOME})

    assert f"{name}: " in str(raised.value)
    assert told in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_variables_of_other_programs_are_ignored() -> None:
    load_settings(None, {"LOYALTY_AGENT_CONFIG": "x", "LOYALTY_HQ__SERVER__PORT": "1", **HOME})


SETTINGS = sorted(known_settings(Settings))


@given(path=st.sampled_from(SETTINGS), data=st.data())
def test_misspelled_setting_is_reported_with_the_intended_one(
    path: SettingPath, data: st.DataObject
) -> None:
    name = path[-1]
    assume(len(name) > 4)
    at = data.draw(st.integers(1, len(name) - 2))
    slip = data.draw(st.sampled_from([name[:at] + name[at + 1 :], name[:at] + "x" + name[at:]]))
    wrong = (*path[:-1], slip)
    assume(wrong not in known_settings(Settings))

    with pytest.raises(ConfigurationError) as raised:
        load_settings(None, {variable(Settings, wrong): "1", **HOME})

    assert dotted(wrong) in str(raised.value)
    assert variable(Settings, path) in str(raised.value)


@given(name=st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True))
def test_unknown_section_is_reported_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    assume(name not in {path[0] for path in SETTINGS})

    told = refusal(tmp_path_factory.mktemp("any"), f"#\n\n{name} = 1\n")

    assert f"agent.toml, line 3: {name}: there is no such setting" in told

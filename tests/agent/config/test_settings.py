"""Configuration precedence: defaults, file, environment."""

import itertools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import ConfigurationError, Settings, load_settings
from agent.config.settings import StorageSettings
from sync.protocol.program_terms import Locale
from sync.runtime.settings.names import dotted, known_settings, value_of, variable
from sync.runtime.settings.toml_lines import SettingPath

HOME = {"HOME": "/home/clerk"}
EXAMPLE = Path(__file__).parents[3] / "config.example.toml"


def from_text(directory: Path, text: str, environ: Mapping[str, str] = HOME) -> Settings:
    file = directory / "agent.toml"
    file.write_text(text, "utf-8")
    return load_settings(file, environ)


def test_defaults_listen_on_loopback_without_central() -> None:
    settings = load_settings(None, HOME)

    assert (settings.api.host, settings.api.port) == ("127.0.0.1", 8480)
    assert settings.central.url == ""
    assert settings.api.token_file is None


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"STATE_DIRECTORY": "/var/lib/loyalty-agent"}, "/var/lib/loyalty-agent"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/state", **HOME}, "/state/loyalty-agent"),
        ({"XDG_STATE_HOME": "relative", **HOME}, "/home/clerk/.local/state/loyalty-agent"),
        (HOME, "/home/clerk/.local/state/loyalty-agent"),
    ],
)
def test_database_directory_defaults_to_the_state_directory(
    environ: dict[str, str], directory: str
) -> None:
    settings = load_settings(None, environ)

    assert settings.storage.directory == Path(directory)


def test_key_file_defaults_to_the_database_directory() -> None:
    usual = StorageSettings(directory=Path("/data"))
    other = StorageSettings(directory=Path("/data"), encryption_key_file=Path("/keys/vault"))

    assert usual.encryption_key_path == Path("/data/encryption.key")
    assert other.encryption_key_path == Path("/keys/vault")


def test_variable_overrides_file_and_file_overrides_default(tmp_path: Path) -> None:
    text = '[api]\nport = 9000\nhost = "::1"\n'

    settings = from_text(tmp_path, text, {"LOYALTY_AGENT__API__PORT": "9001", **HOME})

    assert (settings.api.port, settings.api.host) == (9001, "::1")
    assert settings.store.till_id == "unnamed-till"


def test_variable_list_is_comma_separated() -> None:
    environ = {"LOYALTY_AGENT__API__ALLOWED_HOSTS": "pos.example, TILL-1", **HOME}

    settings = load_settings(None, environ)

    assert settings.api.allowed_hosts == ("pos.example", "till-1")


def test_setting_one_message_keeps_all_other_messages(tmp_path: Path) -> None:
    before = load_settings(None, HOME).program.messages.by_locale()

    after = from_text(tmp_path, '[program.messages.fr-CA]\nreceipt = "Merci!"\n')

    messages = after.program.messages.by_locale()
    assert messages[Locale.FR_CA].receipt == "Merci!"
    assert messages[Locale.FR_CA].prompt == before[Locale.FR_CA].prompt
    assert messages[Locale.EN_CA] == before[Locale.EN_CA]
    assert messages[Locale.EN_US] == before[Locale.EN_US]


@pytest.mark.parametrize("spelling", ["fr-CA", "FR-CA", "fr_ca", "Fr_cA"])
def test_locale_is_case_insensitive_and_accepts_underscore(tmp_path: Path, spelling: str) -> None:
    text = f'program.locale = "{spelling}"\n[program.messages.{spelling}]\nprompt = "Bonjour"\n'

    settings = from_text(tmp_path, text)

    assert settings.program.locale is Locale.FR_CA
    assert settings.program.messages.fr_ca.prompt == "Bonjour"


def test_variable_can_set_a_message() -> None:
    environ = {"LOYALTY_AGENT__PROGRAM__MESSAGES__FR_CA__PROMPT": "Bonjour", **HOME}

    settings = load_settings(None, environ)

    assert settings.program.messages.fr_ca.prompt == "Bonjour"


def test_relative_path_is_resolved_against_the_directory_of_the_file(tmp_path: Path) -> None:
    text = '[api]\ntoken_file = "secrets/token"\n[storage]\ndirectory = "data"\n'

    settings = from_text(tmp_path, text)

    assert settings.api.token_file == tmp_path / "secrets" / "token"
    assert settings.storage.directory == tmp_path / "data"


def test_credential_path_is_resolved_in_the_systemd_credentials_directory(tmp_path: Path) -> None:
    text = '[api]\ntoken_file = "credential:api-token"\n'

    settings = from_text(tmp_path, text, {"CREDENTIALS_DIRECTORY": "/run/credentials/x", **HOME})

    assert settings.api.token_file == Path("/run/credentials/x/api-token")


def test_empty_path_means_not_set(tmp_path: Path) -> None:
    text = '[api]\ntoken_file = "token"\n'

    settings = from_text(tmp_path, text, {"LOYALTY_AGENT__API__TOKEN_FILE": "", **HOME})

    assert settings.api.token_file is None


def test_default_port_of_an_origin_is_removed(tmp_path: Path) -> None:
    text = '[api]\ncors_origins = ["https://Pos.example:443", "http://pos.example:8080"]\n'

    settings = from_text(tmp_path, text)

    assert settings.api.cors_origins == ("https://pos.example", "http://pos.example:8080")


def test_loading_creates_no_file(tmp_path: Path) -> None:
    from_text(tmp_path, '[storage]\ndirectory = "data"\nencryption_key_file = "key"\n')

    assert [file.name for file in tmp_path.iterdir()] == ["agent.toml"]


def test_smallest_allowed_values_are_accepted(tmp_path: Path) -> None:
    text = (
        "[sync]\ninterval_seconds = 1\ntimeout_seconds = 1\nbackoff_base_seconds = 0.1\n"
        "[storage]\nballast_bytes = 1_048_576\nmax_bytes = 16_777_216\n[api]\nport = 0\n"
    )

    settings = from_text(tmp_path, text)

    assert settings.sync.backoff_base_seconds == 0.1
    assert settings.storage.max_bytes == 16 * 1024 * 1024


def test_example_file_equals_the_defaults() -> None:
    assert load_settings(EXAMPLE, HOME) == load_settings(None, HOME)


def test_example_file_contains_exactly_the_known_settings() -> None:
    text = EXAMPLE.read_text("utf-8")

    shown = tomllib.loads(re.sub(r"(?m)^# (?=[a-z_]+ = )", "", text))

    known = {dotted(path) for path in known_settings(Settings)}
    assert {".".join(path) for path in leaves(shown)} == known


def test_example_file_comments_every_setting() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()

    bare = [
        line
        for above, line in itertools.pairwise(lines)
        if re.match(r"(# )?[a-z_]+ = ", line) and not re.match(r"# (?![a-z_]+ = )", above)
    ]

    assert bare == []


def leaves(tree: Mapping[str, object], within: SettingPath = ()) -> list[SettingPath]:
    found = []
    for name, value in tree.items():
        path = (*within, name)
        if isinstance(value, dict) and path not in known_settings(Settings):
            found += leaves(value, path)
        else:
            found.append(path)
    return found


RIGHT_VALUES: dict[SettingPath, st.SearchStrategy[str | int | float | bool]] = {
    ("store", "store_id"): st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    ("api", "port"): st.integers(0, 65_535),
    ("api", "host"): st.sampled_from(["127.0.0.1", "::1", "localhost"]),
    ("storage", "max_bytes"): st.integers(16 * 1024 * 1024, 2**40),
    ("program", "messages", "fr_ca", "prompt"): st.text(
        st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=50
    ),
    ("program", "rules", "min_redeem_amount"): st.floats(0, 100),
    ("email", "check_syntax"): st.booleans(),
    ("central", "protocol"): st.sampled_from(["batch", "replay"]),
    ("sync", "interval_seconds"): st.floats(1, 86_400) | st.integers(1, 86_400),
    ("log", "level"): st.sampled_from(["debug", "info", "warning", "error"]),
}
TREES = st.fixed_dictionaries({}, optional=RIGHT_VALUES)


def as_text(value: str | float | bool) -> str:  # noqa: FBT001 - one value of many kinds
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_toml(value: str | float | bool) -> str:  # noqa: FBT001 - one value of many kinds
    quoted = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"' if isinstance(value, str) else as_text(value)


@given(tree=TREES)
def test_valid_settings_round_trip_through_variables(
    tree: dict[SettingPath, str | float | bool],
) -> None:
    environ = {variable(Settings, path): as_text(value) for path, value in tree.items()}

    settings = load_settings(None, environ | HOME)

    assert {path: value_of(settings, path) for path in tree} == tree


@given(tree=TREES)
def test_valid_settings_round_trip_through_a_file(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[SettingPath, str | float | bool]
) -> None:
    text = "".join(f"{dotted(path)} = {as_toml(value)}\n" for path, value in tree.items())

    settings = from_text(tmp_path_factory.mktemp("any"), text)

    assert {path: value_of(settings, path) for path in tree} == tree


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_user_without_home_must_set_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", no_home)

    with pytest.raises(ConfigurationError, match=r"storage\.directory: must be set: this user"):
        load_settings(None, {})


def test_user_without_home_can_set_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", no_home)

    settings = load_settings(None, {"LOYALTY_AGENT__STORAGE__DIRECTORY": "/data"})

    assert settings.storage.directory == Path("/data")


def test_settings_constructed_directly_ignore_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOYALTY_AGENT__API__PORT", "1")
    monkeypatch.setenv("API", '{"port": 2}')

    settings = Settings(storage=StorageSettings(directory=Path("/data")))

    assert settings.api.port == 8480

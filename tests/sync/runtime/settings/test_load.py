"""Loading of settings: rules and error messages that hold for both programs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import agent.config
import sync.receiver.config
from sync.runtime.settings.names import dotted, known_settings, value_of, variable
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.setting_errors import ConfigurationError, expectation

HOME = {"HOME": "/home/clerk"}


@dataclass(frozen=True)
class Program:
    """A program's settings, and the section with its address and TLS files."""

    model: type[SettingsTree]
    load: Callable[[Path | None, Mapping[str, str]], SettingsTree]
    section: str

    @property
    def prefix(self) -> str:
        return self.model.environment_prefix()

    def from_text(
        self, directory: Path, text: str, environ: Mapping[str, str] = HOME
    ) -> SettingsTree:
        """Load `text`, in which SECTION stands for the program's section."""
        file = directory / "config.toml"
        content = text.replace("SECTION", self.section)
        file.write_bytes(content.encode("utf-8", "surrogateescape"))
        return self.load(file, environ)

    def errors(self, directory: Path, text: str, environ: Mapping[str, str] = HOME) -> str:
        """Return the error message of loading `text`, without the directory of the file."""
        with pytest.raises(ConfigurationError) as raised:
            self.from_text(directory, text, environ)
        shown = str(raised.value).replace(f"{directory}/", "")
        return shown.replace(f"{self.section}.", "SECTION.").replace(
            f"[{self.section}]", "[SECTION]"
        )


AGENT = Program(agent.config.Settings, agent.config.load_settings, "api")
HEAD_OFFICE = Program(
    sync.receiver.config.ReceiverSettings, sync.receiver.config.load_settings, "server"
)
PROGRAMS = [AGENT, HEAD_OFFICE]
SETTINGS = [
    (program, path) for program in PROGRAMS for path in sorted(known_settings(program.model))
]


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.model.program_name)
def program(request: pytest.FixtureRequest) -> Program:
    assert isinstance(request.param, Program)
    return request.param


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "[SECTION]\n\nprot = 1",
            "line 3: SECTION.prot: there is no such setting; did you mean SECTION.port?",
        ),
        ("port = 1", "line 1: port: there is no such setting; did you mean SECTION.port?"),
        ("#\n[sotrage]\nx = 1", "line 2: sotrage: there is no such section; did you mean storage?"),
        ("[program.messages.de]\nprompt = ''", "there are: program.messages.en-CA,"),
        ("[SECTION]\nzzzz = 1", "SECTION.zzzz: there is no such setting; there are: SECTION.host,"),
        ("LOG.level = 1", "line 1: LOG: there is no such section; did you mean log?"),
    ],
)
def test_unknown_name_is_reported_with_line_and_suggestion(
    program: Program, tmp_path: Path, text: str, error: str
) -> None:
    assert error in program.errors(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "[SECTION]\nport = 70000",
            "line 2: SECTION.port: expected a whole number from 0 to 65535; found 70000",
        ),
        ("SECTION.port = 'x'", 'expected a whole number from 0 to 65535; found "x"'),
        ("SECTION.port = true", "expected a whole number from 0 to 65535; found true"),
        ("SECTION.port = {a = 1}", "expected a whole number from 0 to 65535; found a table"),
        ("SECTION.host = 'pos.example'", "expected an IP address of this machine, or"),
        ("log = 5", "line 1: log: expected a section [log]; found a single value"),
        ("storage.directory = ''", "expected a path in quotes"),
        ("storage.directory = '~/data'", 'expected a full path, without "~"'),
        ('storage.directory = "a\\u0000b"', "expected a full path"),
        ("program.locale = 'de-DE'", 'expected one of "en-CA", "en-US", "fr-CA"; found "de-DE"'),
        ("program.currency = 'dollars'", "expected an ISO 4217 code of three capitals"),
        ("program.rules.min_redeem_points = inf", "expected a number from 0 to"),
        ("program.rules.min_redeem_points = -1", "expected a number from 0 to"),
        ("program.rules.min_redeem_points = nan", "expected a number from 0 to"),
        ("log.level = 'loud'", 'expected one of "debug", "info", "warning", "error"; found "loud"'),
    ],
)
def test_invalid_value_is_reported_with_expected_and_found(
    program: Program, tmp_path: Path, text: str, error: str
) -> None:
    assert error in program.errors(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "[SECTION]\n\ntls_cert_file = 'c'",
            "line 3: SECTION.tls_cert_file: also needs SECTION.tls_key_file",
        ),
        ("SECTION.tls_key_file = 'k'", "SECTION.tls_key_file: also needs SECTION.tls_cert_file"),
    ],
)
def test_certificate_without_key_is_reported(
    program: Program, tmp_path: Path, text: str, error: str
) -> None:
    assert error in program.errors(tmp_path, text)


def test_all_errors_are_reported_together_in_file_order(program: Program, tmp_path: Path) -> None:
    text = "[program]\nlocale = 'de'\n[SECTION]\nport = -1\nprot = 1\n"

    message = program.errors(tmp_path, text, {f"{program.prefix}LOG__LEVEL": "loud", **HOME})

    head, *lines = message.splitlines()
    assert head == "4 errors in the configuration:"
    assert [line.split(": ")[1] for line in lines] == [
        "program.locale",
        "SECTION.port",
        "SECTION.prot",
        "log.level",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[log]\nlevel =\n", "config.toml, line 2: not TOML: "),
        ('a = """\n\nb', "config.toml, line 3: not TOML: "),
        ("#\nfid\udce9lit\udce9 = 1\n", "line 2: this is not UTF-8 text"),
        ("a = " + "[" * 100_000, "tables are nested too deeply"),
    ],
    ids=["syntax error", "unterminated string", "not UTF-8", "nested too deeply"],
)
def test_unreadable_content_is_reported_with_its_line(
    program: Program, tmp_path: Path, text: str, error: str
) -> None:
    assert error in program.errors(tmp_path, text)


def test_missing_file_is_reported(program: Program, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml: the file cannot be read \(No s"):
        program.load(tmp_path / "absent.toml", HOME)


def test_file_with_byte_order_mark_and_crlf_is_read(program: Program, tmp_path: Path) -> None:
    settings = program.from_text(tmp_path, "\ufeff[SECTION]\r\nport = 9000\r\n")

    assert value_of(settings, (program.section, "port")) == 9000


def test_variable_overrides_file(program: Program, tmp_path: Path) -> None:
    name = variable(program.model, (program.section, "port"))

    settings = program.from_text(tmp_path, "SECTION.port = 1", {name: "2", **HOME})

    assert value_of(settings, (program.section, "port")) == 2


def test_variables_of_other_programs_are_ignored(program: Program) -> None:
    (other,) = (one for one in PROGRAMS if one is not program)
    name = variable(other.model, (other.section, "port"))

    program.load(None, {name: "1", program.prefix[:-1] + "CONFIG": "x", **HOME})


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("PORT", "there is no such setting; did you mean"),
        ("LOG", "this is a section"),
        ("LOG__LEVEL__X", "there is no such setting"),
        ("", "there is no such setting"),
    ],
)
def test_unknown_variable_is_reported_without_its_value(
    program: Program, name: str, error: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        program.load(None, {f"{program.prefix}{name}": "s3cret", **HOME})

    assert f"{program.prefix}{name}: " in str(raised.value)
    assert error in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_locale_given_in_two_spellings_is_reported(program: Program, tmp_path: Path) -> None:
    text = "[program.messages]\nfr-CA.prompt = ''\nfr_ca.prompt = ''\n"

    message = program.errors(tmp_path, text)

    assert "program.messages.fr-CA: this locale is set twice" in message


def test_credential_path_without_systemd_is_reported(program: Program, tmp_path: Path) -> None:
    message = program.errors(tmp_path, "SECTION.tls_cert_file = 'credential:x'")

    assert "line 1: SECTION.tls_cert_file:" in message
    assert "$CREDENTIALS_DIRECTORY" in message


def test_credential_path_cannot_leave_its_directory(program: Program, tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": "/run/credentials/x", **HOME}

    message = program.errors(tmp_path, "SECTION.tls_cert_file = 'credential:../x'", environ)

    assert "the name of one credential" in message


def test_every_setting_has_a_description_and_an_expectation(program: Program) -> None:
    for path, field in known_settings(program.model).items():
        assert field.description, path
        assert expectation(field), path


@given(setting=st.sampled_from(SETTINGS), data=st.data())
def test_misspelled_setting_is_reported_with_the_intended_one(
    setting: tuple[Program, tuple[str, ...]], data: st.DataObject
) -> None:
    program, path = setting
    name = path[-1]
    assume(len(name) > 4)
    at = data.draw(st.integers(1, len(name) - 2))
    slip = data.draw(st.sampled_from([name[:at] + name[at + 1 :], name[:at] + "x" + name[at:]]))
    wrong = (*path[:-1], slip)
    assume(wrong not in known_settings(program.model))

    with pytest.raises(ConfigurationError) as raised:
        program.load(None, {variable(program.model, wrong): "1", **HOME})

    assert dotted(wrong) in str(raised.value)
    assert variable(program.model, path) in str(raised.value)


@given(
    program=st.sampled_from(PROGRAMS),
    name=st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True),
)
def test_unknown_section_is_reported_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, program: Program, name: str
) -> None:
    assume(name not in {path[0] for path in known_settings(program.model)})

    message = program.errors(tmp_path_factory.mktemp("any"), f"#\n\n{name} = 1\n")

    assert f"config.toml, line 3: {name}: there is no such setting" in message

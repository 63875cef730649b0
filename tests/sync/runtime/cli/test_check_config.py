"""`check-config` finds all that `run` and `serve` refuse, in one pass, in both programs."""

import asyncio
import base64
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import agent.cli
import sync.receiver.cli
from tests.support.agent.process import agent_process
from tests.support.certificates import make_certificate
from tests.support.head_office.process import receiver_process
from tests.support.processes import run_command

pytestmark = pytest.mark.process
PROGRAMS = {
    "agent": ("agent", "run", agent.cli.app),
    "hq": ("sync.receiver", "serve", sync.receiver.cli.app),
}


@dataclass
class Machine:
    """A directory for the files of a case; what is opened stays open until the case ends."""

    path: Path
    opened: ExitStack

    def file(self, name: str, text: str) -> str:
        """Write a file; return its path."""
        (self.path / name).write_text(text)
        return str(self.path / name)

    def busy_port(self) -> int:
        """Return a port on which another program, this one, listens."""
        busy = self.opened.enter_context(socket.socket())
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port: int = busy.getsockname()[1]
        return port


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with ExitStack() as opened:
        yield Machine(tmp_path, opened)


def mismatch(machine: Machine) -> str:
    one, two = (make_certificate(machine.path / name) for name in ("one", "two"))
    return f"tls_cert_file = '{one.cert_file}'\ntls_key_file = '{two.key_file}'"


def directory_of_a_stranger(machine: Machine) -> str:
    place = machine.path / "theirs"
    place.mkdir()
    os.chown(place, 65534, 65534)
    return str(place)


def open_to_all(machine: Machine) -> str:
    place = machine.path / "open"
    place.mkdir()
    place.chmod(0o777)
    return str(place / "state")


Case = Callable[[Machine], str]
STORAGE: list[tuple[Case, str]] = [
    (lambda m: m.file("a-file", "x"), "not a directory"),
    (lambda m: m.file("a-file", "x") + "/below", "cannot be made"),
    (directory_of_a_stranger, "it belongs to nobody"),
    (open_to_all, "any user may replace what is in it"),
]
REFUSALS: list[tuple[str, Case, str]] = [
    ("agent", lambda _: "[api]\nhost = '0.0.0.0'", "requires both a token and TLS"),
    ("agent", lambda m: f"[api]\ntoken_file = '{m.path}/no'", "api.token_file: the file cannot"),
    ("agent", lambda m: f"[api]\nadmin_token_file = '{m.path}/no'", "admin_token_file: the file"),
    ("agent", lambda m: f"[api]\ntoken_file = '{m.file('t', '')}'", "the file is empty"),
    ("agent", lambda m: f"[api]\n{mismatch(m)}", "not a pair"),
    ("agent", lambda _: "[api]\nport = 'high'", "api.port: expected a whole number"),
    ("agent", lambda _: "[api]\nprot = 1", "did you mean api.port?"),
    ("agent", lambda m: f"[api]\nport = {m.busy_port()}", "is in use by "),
    ("agent", lambda _: "[central]\nurl = 'http://hq.example'", "expected https://"),
    ("hq", lambda _: "[server]\nhost = '0.0.0.0'", "without TLS sends tokens"),
    ("hq", lambda m: f"[access]\nadmin_token_file = '{m.path}/no'", "the file cannot be read"),
    ("hq", lambda m: f"[access]\nadmin_token_file = '{m.file('t', 'short')}'", "shorter than 20"),
    ("hq", lambda m: f"[server]\n{mismatch(m)}", "not a pair"),
    ("hq", lambda m: f"[server]\nport = {m.busy_port()}", "is in use by "),
    ("hq", lambda _: "[intake]\nmax_in_fligt = 1", "did you mean intake.max_in_flight?"),
    (
        "hq",
        lambda _: "[database]\nurl = 'postgresql+asyncpg://hq@db.invalid/hq?sslmode=require'",
        'there is no option "sslmode" in the URL; did you mean ssl?',
    ),
    (
        "hq",
        lambda m: f"[database]\nurl = 'sqlite+aiosqlite:///{m.file('f', '')}/hq.db'",
        "cannot be made",
    ),
]
REFUSALS += [
    (program, lambda m, place=place: f"[storage]\ndirectory = '{place(m)}'", words)  # type: ignore[misc]
    for program in PROGRAMS
    for place, words in STORAGE
]


def check(program: str, file: Path, *options: str) -> Result:
    """Run `check-config` in this process."""
    app = PROGRAMS[program][2]
    return CliRunner().invoke(app, ["--config", str(file), "check-config", *options])


def start(program: str, file: Path) -> subprocess.CompletedProcess[str]:
    """Run the service, which is to refuse."""
    module, command, _ = PROGRAMS[program]
    return run_command([sys.executable, "-m", module, "--config", str(file), command], {})


def config_of(machine: Machine, text: str) -> Path:
    """Write a configuration; without a directory of its own it has a new one, and any port."""
    storage = f"\n[storage]\ndirectory = '{machine.path}/state'" if "[storage]" not in text else ""
    return Path(machine.file("program.toml", f"{text}{storage}\n"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize(("program", "case", "words"), REFUSALS, ids=[one[2] for one in REFUSALS])
def test_check_config_names_each_refusal_of_the_service(
    machine: Machine, program: str, case: Case, words: str
) -> None:
    file = config_of(machine, case(machine))

    refused, checked = start(program, file), check(program, file)

    assert refused.returncode in {1, 2}, refused.stderr
    assert "Traceback" not in refused.stderr
    assert checked.exit_code == 2
    assert words in checked.stderr
    assert not (machine.path / "state").exists() or refused.returncode == 1


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (b"short", "expected 32 random bytes"),
        (base64.b64encode(b"x" * 16), "expected 32 random bytes"),
        (b"", "the file is empty"),
    ],
)
def test_encryption_key_of_the_wrong_size_is_named(
    machine: Machine, key: bytes, words: str
) -> None:
    """The service starts with it, and takes no capture."""
    (machine.path / "key").write_bytes(key)
    storage = f"directory = '{machine.path}/state'\nencryption_key_file = '{machine.path}/key'"
    file = config_of(machine, f"[storage]\n{storage}")

    result = check("agent", file)

    assert result.exit_code == 2
    assert f"{machine.path}/key" in result.stderr
    assert words in result.stderr


def test_all_errors_are_found_in_one_pass(machine: Machine) -> None:
    file = config_of(
        machine,
        "[api]\nhost = '0.0.0.0'\nprot = 1\ntoken_file = 'no'\nadmin_token_file = 'no-admin'\n"
        "[sync]\ninterval_seconds = 'often'\n[central]\nurl = 'http://hq.example'\n"
        f"ca_file = 'no-ca'\n[storage]\ndirectory = '{machine.file('a-file', '')}'\n",
    )

    result = check("agent", file)

    lines = result.stderr
    for named in (
        "api.host: listening on 0.0.0.0",
        "api.prot: there is no such setting",
        "api.token_file: the file cannot be read",
        "api.admin_token_file: the file cannot be read",
        "sync.interval_seconds: expected",
        "central.url: expected https",
        "central.ca_file: the file cannot be read",
        "storage.directory: ",
    ):
        assert named in lines
    assert "8 errors in the configuration" in lines


def test_contradiction_between_sections_is_found_beside_a_wrong_value(machine: Machine) -> None:
    file = config_of(
        machine,
        "[server]\nbehind_proxy = true\nport = 'x'\n[access]\nopen_on_loopback = true\n",
    )

    result = check("hq", file)

    assert "access.open_on_loopback: not possible behind a proxy" in result.stderr
    assert "server.port: expected a whole number" in result.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_valid_configuration_passes_and_nothing_is_made(machine: Machine, program: str) -> None:
    file = config_of(machine, "[log]\nlevel = 'debug'")

    result = check(program, file)

    assert result.exit_code == 0
    assert f"The configuration is valid: {file}." in result.stdout
    assert "log.level: debug" in result.stdout
    assert not (machine.path / "state").exists()


@pytest.mark.parametrize(
    ("program", "variable", "right"),
    [
        ("agent", "LOYALTY_AGENT_API_PORT", "LOYALTY_AGENT__API__PORT"),
        ("agent", "loyalty_agent_api__port", "LOYALTY_AGENT__API__PORT"),
        ("agent", "LOYALTYAGENT__STORE__STORE_ID", "LOYALTY_AGENT__STORE__STORE_ID"),
        ("agent", "LOYALTY_AGENT_STORE_ID", "LOYALTY_AGENT__STORE__STORE_ID"),
        ("agent", "LOYALTY_API_PORT", "LOYALTY_AGENT__API__PORT"),
        ("hq", "LOYALTY_HQ_SERVER_PORT", "LOYALTY_HQ__SERVER__PORT"),
        ("hq", "LOYALTY_HQ_DATABASE_URL", "LOYALTY_HQ__DATABASE__URL"),
    ],
)
def test_variable_that_is_nearly_ours_is_named_with_the_right_name(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, program: str, variable: str, right: str
) -> None:
    file = config_of(machine, "")
    monkeypatch.setenv(variable, "9")

    result = check(program, file)

    assert result.exit_code == 0
    assert f"{variable}: this variable is not read; did you mean {right}?" in result.stderr


def test_variable_of_another_program_is_not_ours(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOYALTY_HQ__SERVER__PORT", "LOYALTY_CARD_COLOUR", "AGENT_PORT", "PORT"):
        monkeypatch.setenv(name, "9")

    result = check("agent", config_of(machine, ""))

    assert "is not read" not in result.stderr


@pytest.mark.parametrize(
    ("days", "words"), [(-1, "expired on "), (5, "expires in 4 days"), (100, "")]
)
def test_certificate_that_ends_soon_is_a_warning(machine: Machine, days: int, words: str) -> None:
    """An expired one does not keep tills from being served."""
    made = make_certificate(machine.path / "tls", starts_in_days=-2, ends_in_days=days)
    tls = f"tls_cert_file = '{made.cert_file}'\ntls_key_file = '{made.key_file}'"

    for program, section in (("agent", "api"), ("hq", "server")):
        result = check(program, config_of(machine, f"[{section}]\n{tls}"))

        assert result.exit_code == 0
        assert words in result.stderr
        assert ("renew it" in result.stderr) == bool(words)


async def test_check_beside_the_running_service_passes(machine: Machine) -> None:
    agents, receivers = machine.path / "agent", machine.path / "hq"
    async with agent_process(agents) as one, receiver_process(receivers) as other:
        for program, directory, port in (
            ("agent", agents, await one.ready()),
            ("hq", receivers, await other.port()),
        ):
            file = directory.with_suffix(".toml")
            file.write_text(file.read_text().replace("port = 0", f"port = {port}"))

            result = await asyncio.to_thread(check, program, file)

            assert result.exit_code == 0, result.stderr

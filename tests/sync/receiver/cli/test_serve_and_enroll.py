"""`loyalty-hq serve` and `enroll`: output and exit codes."""

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner

from sync.protocol.agent_token import hash_token
from sync.receiver.auth.tokens import AgentName, parse_name
from sync.receiver.cli import app
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.process import HQ, hq, receiver_process, write_config
from tests.support.head_office.receiver import Receiver
from tests.support.processes import ROOT, clean_environment, messages
from tests.support.sqlite import rows_in
from tests.support.terminal import service_on_terminal

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    "arguments",
    [["enroll"], ["enroll", "0042"], ["enroll", "a b", "till"]],
)
def test_wrong_use_exits_with_2_and_creates_nothing(arguments: list[str], tmp_path: Path) -> None:
    environment = {"LOYALTY_HQ__STORAGE__DIRECTORY": str(tmp_path)}

    assert CliRunner().invoke(app, arguments, env=environment).exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Enroll an agent at a new head office; return the directory and the output."""
    directory = tmp_path_factory.mktemp("enrolled") / "state"
    result = hq("--config", str(write_config(directory)), "enroll", "0042", "till-1")
    assert (result.returncode, messages(result.stderr)) == (0, "")
    return directory, result.stdout


def test_enroll_prints_only_the_token(enrolled: tuple[Path, str]) -> None:
    directory, printed = enrolled

    token = printed.removesuffix("\n")

    assert parse_name(token) == AgentName("0042", "till-1")
    assert rows_in(directory / "hq.db", "SELECT token_hash FROM tokens") == [(hash_token(token),)]


def test_created_files_are_private_to_their_user(enrolled: tuple[Path, str]) -> None:
    """The database holds e-mail addresses."""
    directory, _ = enrolled

    modes = {place.stat().st_mode & 0o077 for place in (directory, directory / "hq.db")}

    assert modes == {0}


@pytest.mark.parametrize(
    "settings",
    [
        "[access]\nadmin_token_file = 'absent'\n",
        "[server]\ntls_cert_file = 'absent'\ntls_key_file = 'absent'\n",
    ],
)
def test_missing_file_is_reported_and_nothing_is_created(tmp_path: Path, settings: str) -> None:
    file = tmp_path / "hq.toml"
    file.write_text(f"[storage]\ndirectory = 'data'\n{settings}")

    result = CliRunner().invoke(app, ["serve", "--config", str(file)])

    assert result.exit_code == 2
    assert str(tmp_path / "absent") in result.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_unusable_database_exits_with_1(tmp_path: Path) -> None:
    config = write_config(tmp_path / "state")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "hq.db").write_bytes(b"no database" * 1000)

    result = hq("--config", str(config), "enroll", "0042", "till-1")

    assert (result.returncode, result.stdout) == (1, "")
    assert f"{tmp_path}/state/hq.db" in result.stderr
    assert "Traceback" not in result.stderr


async def test_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = write_config(tmp_path / "state")
        port = taken.getsockname()[1]

        result = hq("--config", str(config), "serve", LOYALTY_HQ__SERVER__PORT=str(port))

    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in result.stderr


async def test_enroll_works_while_head_office_serves(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    enroll = ("--config", str(write_config(receiver.directory)), "enroll", "0042", "till-2")
    other = SimulatedAgent(till_id="till-2")

    enrolled = await asyncio.to_thread(hq, *enroll)

    receiver.tokens[other.store_id, other.till_id] = enrolled.stdout.strip()
    assert (await receiver.send(other, session(1))).status == 200


async def test_person_at_a_terminal_gets_a_sign_in_link_and_no_token(tmp_path: Path) -> None:
    program = (*HQ, "--config", str(write_config(tmp_path / "state")), "serve")

    with service_on_terminal(program, ROOT, clean_environment(), until="/sign-in#") as shown:
        link = shown.splitlines()[-1].strip()
        jar = aiohttp.CookieJar(unsafe=True)  # for an IP address
        async with aiohttp.ClientSession(cookie_jar=jar) as person:
            form = {"link": link.partition("#")[2]}
            async with person.post(link.partition("#")[0], data=form) as page:
                signed_in = page.status, str(page.url.path)

    assert link.startswith("http://127.0.0.1:")
    assert signed_in == (200, "/")
    token = (tmp_path / "state" / "readers-token").read_text().strip()
    assert token not in shown
    assert f'"file": "{tmp_path}/state/readers-token"' in shown


async def test_service_logs_the_path_of_the_readers_token_and_neither_token_nor_link(
    tmp_path: Path,
) -> None:
    async with receiver_process(tmp_path / "state") as office:
        await office.port()
        log = office.log_tail()

    token = (tmp_path / "state" / "readers-token").read_text().strip()
    assert f"{tmp_path}/state/readers-token" in log
    assert (token in log, "sign-in" in log) == (False, False)


def test_short_token_is_refused_at_start_and_not_shown(tmp_path: Path) -> None:
    """A short token can be guessed."""
    (tmp_path / "token").write_text("hunter2-hunter2-hun\n")
    file = tmp_path / "hq.toml"
    file.write_text("[storage]\ndirectory = 'data'\n[access]\nadmin_token_file = 'token'\n")

    result = hq("--config", str(file), "serve")

    assert result.returncode == 2
    assert "access.admin_token_file: the token is shorter than 20 characters" in result.stderr
    assert "hunter2" not in result.stderr
    assert not (tmp_path / "data").exists()


def test_planted_readers_token_is_refused_at_start(tmp_path: Path) -> None:
    config = write_config(tmp_path / "state")
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "known").write_text("known-to-whoever-planted-the-link")
    (tmp_path / "state" / "readers-token").symlink_to(tmp_path / "known")

    result = hq("--config", str(config), "serve")

    assert result.returncode == 1
    assert f"{tmp_path}/state/readers-token: it is a link" in result.stderr

"""From a join code to the first delivered capture: the real programs, TLS, a private authority."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from agent.drill.processes import free_port
from sync.protocol.join_code import parse_join_code
from tests.support.agent.process import AGENT, AgentProcess, agent
from tests.support.certificates import make_authority
from tests.support.head_office.process import HQ, ReceiverProcess, hq
from tests.support.processes import running_service
from tests.support.sqlite import rows_in
from tests.support.till.requests import Requests, fresh_pair, send_request

pytestmark = pytest.mark.process

SESSIONS = "SELECT store_id, till_id FROM sessions"


@dataclass(frozen=True, slots=True)
class Chain:
    """Head office with its configuration, and the configuration of one machine."""

    hq_config: Path
    agent_config: Path
    authority: Path
    hq_port: int
    agent_port: int

    async def code(self, *more: str) -> str:
        """Return a join code as head office prints it."""
        url = f"https://127.0.0.1:{self.hq_port}"
        enroll = ("enroll", "0042", "till-1", "--url", url, "--ca", str(self.authority), *more)
        result = await asyncio.to_thread(hq, "--config", str(self.hq_config), *enroll)
        assert result.returncode == 0, result.stderr
        return result.stdout

    async def join(self, *arguments: str) -> CompletedProcess[str]:
        """Join this machine."""
        config = ("--config", str(self.agent_config))
        return await asyncio.to_thread(agent, *config, "join", *arguments)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[AgentProcess]:
        """Run the agent."""
        command = (*AGENT, "--config", str(self.agent_config), "run")
        async with running_service(AgentProcess, command) as running:
            await running.ready()
            yield running

    def write_code(self, printed: str) -> Path:
        """Write a code to a file."""
        file = self.agent_config.with_name("code")
        file.write_text(printed)
        return file

    async def capture(self) -> None:
        """Capture a session start."""
        request = Requests("127.0.0.1", self.agent_port).session(fresh_pair())
        assert (await send_request(self.agent_port, request)).status == 200

    def arrived(self) -> list[tuple[object, ...]]:
        """Return the store and till of each session at head office."""
        return rows_in(self.hq_config.with_name("hq") / "hq.db", SESSIONS)


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """Head office runs; the machine captures without a name, and delivers nowhere."""
    tls = make_authority(tmp_path / "tls")
    made = Chain(
        tmp_path / "hq.toml", tmp_path / "agent.toml", tls.cert_file, free_port(), free_port()
    )
    made.hq_config.write_text(
        f'[server]\nport = {made.hq_port}\ntls_cert_file = "{tls.served.cert_file}"\n'
        f'tls_key_file = "{tls.served.key_file}"\n[storage]\ndirectory = "hq"\n'
        '[log]\nformat = "json"\n'
    )
    made.agent_config.write_text(
        f'# ours\n[api]\nport = {made.agent_port}\n[storage]\ndirectory = "agent"\n'
        '[sync]\ninterval_seconds = 1\n[log]\nformat = "json"\n'
    )
    serve = (*HQ, "--config", str(made.hq_config), "serve")
    async with running_service(ReceiverProcess, serve) as office:
        await office.port()
        yield made


def files_with(text: str, directory: Path) -> list[Path]:
    """Return the files that hold a text."""
    files = [one for one in directory.rglob("*") if one.is_file()]
    return [one for one in files if text in one.read_bytes().decode("latin-1")]


async def test_captures_taken_without_a_name_are_delivered_under_the_joined_one(
    chain: Chain,
) -> None:
    code = await chain.code()
    async with chain.agent():
        await chain.capture()
        await chain.capture()
        joined = await chain.join(code)
    assert (joined.returncode, chain.arrived()) == (0, [])
    assert "Joined https://127.0.0.1:" in joined.stdout
    assert f"loyalty-agent --config {chain.agent_config} run" in joined.stdout

    async with chain.agent():
        await chain.capture()
        delivered = await asyncio.to_thread(
            agent, "--config", str(chain.agent_config), "sync", "--wait"
        )

    assert delivered.returncode == 0, delivered.stderr
    assert chain.arrived() == [("0042", "till-1")] * 3
    assert chain.agent_config.read_text().startswith("# ours\n[api]\n")


async def test_secret_of_the_code_is_in_no_output_and_no_log(chain: Chain, tmp_path: Path) -> None:
    printed = await chain.code()
    secret = parse_join_code(printed).secret
    file = chain.write_code(printed)

    results = [await chain.join("--file", str(file)), await chain.join("--file", str(file))]

    assert [result.returncode for result in results] == [0, 0]
    for text in (secret[:10], printed.strip()[-11:]):
        assert not any(text in result.stdout + result.stderr for result in results)
    assert files_with(secret, tmp_path) == []
    assert files_with(printed.strip(), tmp_path) == [file]

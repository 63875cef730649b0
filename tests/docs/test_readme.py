"""Runs the README's commands for both programs verbatim, except for the ports."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ROOT, free_port

pytestmark = pytest.mark.process

README = ROOT / "README.md"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a directory in which the README's commands find `.venv`."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def block(mark: str, ports: dict[str, str]) -> str:
    """Return the commands under `<!-- mark -->`."""
    found = re.search(rf"<!-- {mark} -->\n```sh\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert found is not None
    commands = found[1]
    for port, other in ports.items():
        commands = commands.replace(port, other)
    return commands


async def shell(clone: Path, commands: str, environment: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        *("bash", "-euc", commands),
        cwd=clone,
        env=os.environ | environment,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )


@asynccontextmanager
async def terminal(
    clone: Path, commands: str, until: str, environment: dict[str, str]
) -> AsyncIterator[None]:
    """Run commands that do not end by themselves; enter the block once they log `until`."""
    process = await shell(clone, commands, environment)
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            if until in line.decode():
                break
        else:
            raise AssertionError(f"ended without {until}")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.communicate()


async def test_readme_walk_ends_with_capture_in_receiver_database(clone: Path) -> None:
    till, head_office = free_port(), free_port()
    ports = {"8480": str(till), "8580": str(head_office)}
    environment = {
        "LOYALTY_AGENT__API__PORT": str(till),
        "LOYALTY_HQ__SERVER__PORT": str(head_office),
    }
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        terminal(clone, block("head office", ports), "hq.serving", environment),
        terminal(clone, block("store", ports), "store.opened", environment),
    ):
        till_s = await shell(clone, block("till", ports), environment)
        output, errors = await till_s.communicate()

    assert till_s.returncode == 0, errors.decode()
    assert "(2, '7f2c1b1e-0002', 'accepted', 'guest@example.com', '" in output.decode()
    assert '"stores":[{"storeId":"0042","tillId":"till-1",' in output.decode()

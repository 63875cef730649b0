"""From a bare Debian, the package and a join code to the first delivered capture."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.machine.machine import Machine
from tests.machine.packages import Packages
from tests.machine.service import Service
from tests.support.certificates import make_authority
from tests.support.head_office.process import HQ, ReceiverProcess, hq
from tests.support.processes import running_service
from tests.support.sqlite import rows_in

pytestmark = pytest.mark.machine
URL = "https://127.0.0.1:8580"
MOST_MINUTES = 2.0
CONFIG, CREDENTIALS = "etc/loyalty-agent/config.toml", "etc/loyalty-agent/credentials"
WRITTEN = {
    'store_id = "0042"',
    'till_id = "till-1"',
    f'url = "{URL}"',
    'ca_file = "/etc/loyalty-agent/head-office-ca.pem"',
    'kind = "bearer"',
    'token_file = "credential:central-token"',
}


@dataclass(frozen=True, slots=True)
class Office:
    """Head office outside of the machine, in its network: it has a private authority."""

    config: Path
    authority: Path
    process: int

    def arrived(self) -> list[tuple[object, ...]]:
        """Return the store and till of each session that has arrived."""
        query = "SELECT store_id, till_id FROM sessions"
        return rows_in(self.config.with_name("hq") / "hq.db", query)

    async def hand_code_to(self, machine: Machine) -> None:
        """Put a join code into a file on the machine."""
        enroll = ("enroll", "0042", "till-1", "--url", URL, "--ca", str(self.authority))
        printed = await asyncio.to_thread(hq, "--config", str(self.config), *enroll)
        assert printed.returncode == 0, printed.stderr
        (machine.root / "root/code").write_text(printed.stdout)


@pytest.fixture
def machine(each_debian: Machine) -> Machine:
    """Join on each Debian that the package is for."""
    return each_debian


@pytest.fixture
async def office(machine: Machine, tmp_path: Path) -> AsyncIterator[Office]:
    tls = make_authority(tmp_path / "tls")
    config = tmp_path / "hq.toml"
    config.write_text(
        f'[server]\nport = 8580\ntls_cert_file = "{tls.served.cert_file}"\n'
        f'tls_key_file = "{tls.served.key_file}"\n[storage]\ndirectory = "hq"\n'
        '[log]\nformat = "json"\n'
    )
    with machine.network():
        serving = running_service(ReceiverProcess, (*HQ, "--config", str(config), "serve"))
        running = await serving.__aenter__()
    try:
        await running.port()
        yield Office(config, tls.cert_file, running.pid)
    finally:
        await serving.__aexit__(None, None, None)


async def test_three_commands_and_two_minutes_to_the_first_delivered_capture(
    machine: Machine, packages: Packages, office: Office
) -> None:
    service = Service(machine)
    await office.hand_code_to(machine)
    began = time.monotonic()

    service.install(packages.this)
    assert (await service.start_session()).status == 200  # a till, before the machine has joined
    joined = machine.run("loyalty-agent", "join", "--file", "/root/code")
    status = service.status()

    minutes = (time.monotonic() - began) / 60
    print(f"install, join, status: {60 * minutes:.1f} s; {joined.strip()}")
    assert minutes < MOST_MINUTES
    assert "Delivered: 1 capture, none is waiting." in joined
    assert (status["storeId"], status["tillId"], status["waiting"]) == ("0042", "till-1", 0)
    assert office.arrived() == [("0042", "till-1")]


async def test_join_keeps_the_settings_and_hides_the_token(
    service: Service, machine: Machine, office: Office
) -> None:
    config = machine.root / CONFIG
    config.write_text(config.read_text().replace('level = "info"', 'level = "debug"  # ours'))
    before = config.read_text().splitlines()
    await office.hand_code_to(machine)

    machine.run("loyalty-agent", "join", "--file", "/root/code")

    after = config.read_text().splitlines()
    assert {line for line in after if line not in before} == WRITTEN
    assert len([line for line in before if line not in after]) == 4
    of_files = machine.run("stat", "-c", "%U:%G %a", f"/{CREDENTIALS}/central-token", f"/{CONFIG}")
    assert of_files == "root:root 600\nroot:root 644\n"
    # As the service's user, who looks first.
    found = machine.run("runuser", "-u", "loyalty-agent", "--", "loyalty-agent", "status", "--json")
    assert '"waiting":0' in found


async def test_power_cut_right_after_the_join_loses_neither_token_nor_settings(
    service: Service, machine: Machine, office: Office
) -> None:
    await office.hand_code_to(machine)
    machine.sync()
    machine.run("loyalty-agent", "join", "--file", "/root/code")
    token = (machine.root / CREDENTIALS / "central-token").read_text()

    machine.cut_power()
    machine.boot()

    assert await service.seconds_to_first_answer() < MOST_MINUTES * 60
    assert (machine.root / CREDENTIALS / "central-token").read_text() == token
    assert (machine.root / CONFIG).read_text().count('store_id = "0042"') == 1
    assert service.status()["storeId"] == "0042"


async def test_join_interrupted_while_head_office_does_not_answer_continues_later(
    service: Service, machine: Machine, office: Office
) -> None:
    """Interrupted by hand, as an installer does who sees no progress."""
    join = ("loyalty-agent", "join", "--file", "/root/code")
    await office.hand_code_to(machine)
    os.kill(office.process, signal.SIGSTOP)
    told = machine.run("timeout", "--signal=INT", "5", *join, check=False)
    os.kill(office.process, signal.SIGCONT)
    assert (await service.start_session()).status == 200

    joined = machine.run(*join)

    assert "run the same command again" in told
    assert "Delivered: 1 capture" in joined

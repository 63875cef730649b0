"""Head office out of the same package: enabled, an agent enrolled with it, captures delivered."""

import pytest

from tests.machine.machine import Machine
from tests.machine.service import UNIT, Service

pytestmark = pytest.mark.machine
RECEIVER = "loyalty-hq.service"
ENROLL = (
    *("runuser", "-u", "loyalty-hq", "--", "loyalty-hq"),
    *("--config", "/etc/loyalty-hq/config.toml", "enroll", "0042", "till-1"),
)
DOCTOR = "loyalty-agent --config /etc/loyalty-agent/config.toml doctor"
CONFIG = """
[store]
store_id = "0042"
till_id = "till-1"

[central]
url = "http://127.0.0.1:8580"

[central.auth]
kind = "bearer"
token_file = "credential:central-token"
"""


async def test_an_agent_serves_before_it_is_enrolled_and_delivers_afterwards(
    service: Service, machine: Machine
) -> None:
    (machine.root / "etc/loyalty-agent/config.toml").write_text(CONFIG)
    machine.run("systemctl", "enable", "--now", RECEIVER)
    machine.run("systemctl", "restart", UNIT)
    assert (await service.start_session()).status == 200
    token = machine.root / "etc/loyalty-agent/credentials/central-token"
    token.write_text(machine.run(*ENROLL))
    machine.run("systemctl", "restart", UNIT)
    machine.run("loyalty-agent", "sync", "--wait")
    assert service.status()["waiting"] == 0


@pytest.mark.parametrize("verb", ["start", "stop"])
async def test_doctor_knows_the_credentials_of_the_service_running_or_stopped(
    service: Service, machine: Machine, verb: str
) -> None:
    (machine.root / "etc/loyalty-agent/config.toml").write_text(CONFIG)
    machine.run("systemctl", "enable", "--now", RECEIVER)
    token = machine.root / "etc/loyalty-agent/credentials/central-token"
    token.write_text(machine.run(*ENROLL))
    machine.run("systemctl", "restart", UNIT)
    machine.run("systemctl", verb, UNIT)
    # Whatever else this bare machine lacks, the exit code is 1 for.
    found = machine.run("sh", "-c", f"{DOCTOR} || [ $? = 1 ]")
    assert "pass\tcredentials\tbearer: accepted" in found


async def test_a_killed_receiver_is_started_anew(service: Service, machine: Machine) -> None:
    machine.run("systemctl", "enable", "--now", RECEIVER)
    machine.run("systemctl", "kill", "--signal=KILL", RECEIVER)
    await service.is_restarted(1, RECEIVER)
    await service.is_active(RECEIVER)

"""Head office from the same package: enable it, enroll an agent, deliver captures."""

import pytest

from tests.machine.machine import Machine
from tests.machine.service import UNIT, Service, wait_until
from tests.support.sqlite import rows_in

pytestmark = pytest.mark.machine
RECEIVER = "loyalty-hq.service"
TOKEN = "/var/lib/loyalty-hq/readers-token"  # noqa: S105 - a path
# The token alone: which configuration is used is said on standard error.
ENROLL = (
    *("runuser", "-u", "loyalty-hq", "--", "sh", "-c"),
    "loyalty-hq enroll 0042 till-1 2> /dev/null",
)
DOCTOR = "loyalty-agent doctor"
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


async def test_agent_serves_before_enrollment_and_delivers_after_it(
    service: Service, machine: Machine
) -> None:
    (machine.root / "etc/loyalty-agent/config.toml").write_text(CONFIG)
    machine.run("systemctl", "enable", "--now", RECEIVER)
    machine.run("systemctl", "restart", UNIT)
    assert (await service.start_session()).status == 200
    token = machine.root / "etc/loyalty-agent/credentials/central-token"
    token.write_text(_token_in(machine.run(*ENROLL)))
    machine.run("systemctl", "restart", UNIT)
    machine.run("loyalty-agent", "sync", "--wait")
    assert service.status()["waiting"] == 0


@pytest.mark.parametrize("verb", ["start", "stop"])
async def test_doctor_finds_the_credentials_of_the_running_or_stopped_service(
    service: Service, machine: Machine, verb: str
) -> None:
    (machine.root / "etc/loyalty-agent/config.toml").write_text(CONFIG)
    machine.run("systemctl", "enable", "--now", RECEIVER)
    token = machine.root / "etc/loyalty-agent/credentials/central-token"
    token.write_text(_token_in(machine.run(*ENROLL)))
    machine.run("systemctl", "restart", UNIT)
    machine.run("systemctl", verb, UNIT)
    # This bare machine fails other checks.
    found = machine.run("sh", "-c", f"{DOCTOR} || [ $? != 2 ]")
    assert "pass\tcredentials\tbearer: accepted" in found


async def test_pages_need_the_token_that_only_the_service_can_read(
    service: Service, machine: Machine
) -> None:
    machine.run("systemctl", "enable", "--now", RECEIVER)

    status = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}")
    url = "http://127.0.0.1:8580/v1/stores"
    without = machine.run(*status, url)
    read = f'curl -s -H "Authorization: Bearer $(cat {TOKEN})" {url}'

    assert without == "401"
    assert machine.run("sh", "-c", read).strip().endswith('"stores":[]}')
    assert machine.run("stat", "-c", "%U %a", TOKEN) == "loyalty-hq 600\n"


async def test_reload_takes_a_new_readers_token_and_wrong_settings_end_nothing(
    service: Service, machine: Machine
) -> None:
    machine.run("systemctl", "enable", "--now", RECEIVER)
    (machine.root / TOKEN.removeprefix("/")).write_text("another-token-of-more-than-20\n")
    machine.run("systemctl", "reload", RECEIVER)
    process = service.unit_property("MainPID", RECEIVER)
    config = machine.root / "etc/loyalty-hq/config.toml"
    config.write_text(config.read_text().replace("[server]\n", "[server]\nprot = 1\n", 1))
    reloaded = machine.run("systemctl", "reload", RECEIVER, check=False)
    machine.run("systemctl", "kill", "--signal=HUP", "--kill-who=main", RECEIVER)

    url = "http://127.0.0.1:8580/v1/stores"
    by_new = machine.run(
        "curl", "-s", "-H", "Authorization: Bearer another-token-of-more-than-20", url
    )

    assert "failed" in reloaded
    assert by_new.strip().endswith('"stores":[]}')
    assert service.unit_property("MainPID", RECEIVER) == process


async def test_killed_receiver_is_restarted(service: Service, machine: Machine) -> None:
    machine.run("systemctl", "enable", "--now", RECEIVER)
    machine.run("systemctl", "kill", "--signal=KILL", RECEIVER)
    await service.wait_until_restarted(1, RECEIVER)
    await service.wait_until_active(RECEIVER)


async def test_stop_closes_the_till_and_a_restart_that_fails_does_not(
    service: Service, machine: Machine
) -> None:
    """An upgrade whose new version does not start must not look as a shop that is shut."""
    (machine.root / "etc/loyalty-agent/config.toml").write_text(CONFIG)
    machine.run("systemctl", "enable", "--now", RECEIVER)
    token = machine.root / "etc/loyalty-agent/credentials/central-token"
    token.write_text(_token_in(machine.run(*ENROLL)))
    machine.run("systemctl", "restart", UNIT)
    assert (await service.start_session()).status == 200
    machine.run("loyalty-agent", "sync", "--wait")
    machine.run("systemctl", "stop", UNIT)
    stopped = _closed_at(machine)
    machine.run("systemctl", "start", UNIT)
    await wait_until(lambda: _is_open(machine))
    service.add_to_unit("ExecStartPre=/bin/false")
    machine.run("systemctl", "restart", UNIT, check=False)

    assert stopped is not None
    assert _closed_at(machine) is None


def _token_in(output: str) -> str:
    """Return the token; the configuration stands on a line of its own."""
    return next(one for one in output.splitlines() if not one.startswith("Configuration"))


async def _is_open(machine: Machine) -> bool:
    return _closed_at(machine) is None


def _closed_at(machine: Machine) -> object:
    """Return when head office heard that the till stops; None if it is open."""
    database = machine.root / "var/lib/loyalty-hq/hq.db"
    [(closed_at,)] = rows_in(database, "SELECT closed_at FROM agents WHERE is_current")
    return closed_at

"""Commands beside the installed services: they look at these, as root and as their users."""

import pytest

from tests.machine.machine import Machine
from tests.machine.service import UNIT, Service
from tests.support.sqlite import rows_in

pytestmark = pytest.mark.machine
RECEIVER = "loyalty-hq.service"
AGENT_STATE, HQ_STATE = "var/lib/loyalty-agent", "var/lib/loyalty-hq"
AS_AGENT = "runuser -u loyalty-agent -- "


def said(machine: Machine, command: str) -> str:
    """Return all that a command printed, and its exit code on the last line."""
    return machine.run("sh", "-c", f"{command} 2>&1; echo exit $?")


def owners(machine: Machine, state: str) -> set[int]:
    """Return the users who own a file in a state directory."""
    place = machine.root / state
    return {one.lstat().st_uid for one in (place, *place.rglob("*"))}


def set_in_config(machine: Machine, section: str, *lines: str) -> None:
    """Set values of the agent in place of those that the section has."""
    config = machine.root / "etc/loyalty-agent/config.toml"
    names = tuple(line.partition(" = ")[0] + " = " for line in lines)
    kept = [line for line in config.read_text().splitlines() if not line.startswith(names)]
    at = kept.index(section) + 1
    config.write_text("\n".join((*kept[:at], *lines, *kept[at:], "")))


@pytest.mark.parametrize("verb", ["start", "stop", "kill --signal=KILL"])
@pytest.mark.parametrize("user", ["", AS_AGENT], ids=["root", "its user"])
async def test_doctor_without_config_examines_the_service_and_leaves_its_files(
    service: Service, machine: Machine, user: str, verb: str
) -> None:
    assert (await service.start_session()).status == 200
    if verb.startswith("kill"):
        service.add_to_unit("Restart=no")
    machine.run("systemctl", *verb.split(), UNIT)

    found = said(machine, f"{user}loyalty-agent doctor")

    assert "Configuration: /etc/loyalty-agent/config.toml; state: /var/lib/loyalty-agent" in found
    assert "captures are stored for unnamed-till in unnamed-store" in found
    assert "is created at the first start" not in found
    assert len(owners(machine, AGENT_STATE)) == 1
    assert not (machine.root / "root/.local/state").exists()
    machine.run("systemctl", "restart", UNIT)
    assert (await service.start_session()).status == 200


async def test_head_office_commands_of_root_act_on_the_services_database(
    service: Service, machine: Machine
) -> None:
    before = said(machine, "loyalty-hq enroll 0042 till-1")
    assert "has not run yet" in before
    assert "exit 2" in before
    machine.run("systemctl", "enable", "--now", RECEIVER)

    token = machine.run("sh", "-c", "loyalty-hq enroll 0042 till-1 2> /dev/null").strip()
    listed = said(machine, "loyalty-hq stores")
    examined = said(machine, "loyalty-hq doctor")

    assert len(token.split()) == 1
    assert "Configuration: /etc/loyalty-hq/config.toml; state: /var/lib/loyalty-hq/hq.db" in listed
    assert "0042" in listed
    assert "1 till may send" in examined
    assert "exit 0" in examined
    assert len(owners(machine, HQ_STATE)) == 1
    machine.run("systemctl", "restart", RECEIVER)
    assert not (machine.root / "root/.local/state").exists()


async def test_state_of_head_office_that_root_makes_is_the_services(
    service: Service, machine: Machine
) -> None:
    machine.run("loyalty-hq", "enroll", "--new", "0042", "till-1")
    machine.run("systemctl", "enable", "--now", RECEIVER)

    assert "0042" in said(machine, "loyalty-hq stores")
    assert 0 not in owners(machine, HQ_STATE)


async def test_check_config_beside_the_running_services_passes(
    service: Service, machine: Machine
) -> None:
    machine.run("systemctl", "enable", "--now", RECEIVER)

    for program in ("loyalty-agent", "loyalty-hq"):
        assert "exit 0" in said(machine, f"{program} check-config")
        as_user = said(machine, f"runuser -u {program} -- {program} check-config")
        assert "exit 0" in as_user


@pytest.mark.parametrize(
    ("user", "file", "owner"),
    [("", "/root/copy.db", "root 600"), (AS_AGENT, "/srv/copy.db", "loyalty-agent 600")],
    ids=["root", "its user"],
)
async def test_backup_and_new_key_beside_the_running_service(
    service: Service, machine: Machine, user: str, file: str, owner: str
) -> None:
    """The service's sandbox does not hold for commands: they write where they are told to."""
    assert (await service.start_session()).status == 200
    process = service.unit_property("MainPID")
    machine.run("chmod", "1777", "/srv")

    copied = said(machine, f"{user}loyalty-agent backup {file}")
    rotated = said(machine, f"{user}loyalty-agent rotate-key")

    assert "1 capture of them not delivered" in copied
    assert machine.run("stat", "-c", "%U %a", file).strip() == owner
    assert "holds a new key" in rotated
    assert copied.endswith("exit 0\n")
    assert rotated.endswith("exit 0\n")
    assert len(owners(machine, AGENT_STATE)) == 1
    keys = machine.run("sh", "-c", "stat -c %a /var/lib/loyalty-agent/encryption.key*")
    assert set(keys.split()) == {"600"}
    assert (await service.start_session()).status == 200
    assert service.unit_property("MainPID") == process


async def test_root_backs_up_head_office_while_it_serves(
    service: Service, machine: Machine
) -> None:
    machine.run("systemctl", "enable", "--now", RECEIVER)

    copied = said(machine, "loyalty-hq backup /root/hq.db")

    assert copied.endswith("exit 0\n")
    assert machine.run("stat", "-c", "%U %a", "/root/hq.db").strip() == "root 600"
    assert len(owners(machine, HQ_STATE)) == 1


@pytest.mark.parametrize(
    ("user", "file", "owner"),
    [("", "/root/till.bundle", "root 600"), (AS_AGENT, "/srv/till.bundle", "loyalty-agent 600")],
    ids=["root", "its user"],
)
async def test_captures_are_carried_by_hand_beside_the_running_services(
    service: Service, machine: Machine, user: str, file: str, owner: str
) -> None:
    """Both programs on one machine, which has no line: an administrator carries the file."""
    machine.run("chmod", "1777", "/srv")
    machine.run("systemctl", "enable", "--now", RECEIVER)
    machine.run("sh", "-c", "loyalty-hq keys > /etc/loyalty-agent/head-office.pub 2> /dev/null")
    set_in_config(machine, "[store]", 'store_id = "0042"', 'till_id = "till-1"')
    key = 'public_key_file = "/etc/loyalty-agent/head-office.pub"'
    set_in_config(machine, "[central]", key)
    machine.run("systemctl", "restart", UNIT)
    assert (await service.start_session()).status == 200

    exported = said(machine, f"{user}loyalty-agent export {file}")
    machine.run("loyalty-hq", "enroll", "0042", "till-1")
    imported = said(machine, f"loyalty-hq import --unproven {file}")

    assert exported.endswith("exit 0\n")
    assert machine.run("stat", "-c", "%U %a", file).strip() == owner
    assert imported.endswith("exit 0\n")
    assert len(owners(machine, AGENT_STATE)) == 1
    assert len(owners(machine, HQ_STATE)) == 1
    stored = rows_in(machine.root / HQ_STATE / "hq.db", "SELECT store_id FROM sessions")
    assert stored == [("0042",)]

"""systemd holds the till's port on both loopback addresses, with IPv6 and without."""

import socket

import pytest

from tests.machine.machine import Machine
from tests.machine.packages import Packages
from tests.machine.service import PORT, UNIT, Service

pytestmark = pytest.mark.machine
IPV6 = "loyalty-agent-ipv6.socket"
SOCKETS = ("loyalty-agent.socket", IPV6)
ADMIN_TOKEN = "etc/loyalty-agent/credentials/admin-token"  # noqa: S105 - a path
CONFIG = "etc/loyalty-agent/config.toml"


def answers(machine: Machine, host: str) -> bool:
    """Send a request to an address of the machine; return whether the agent answers."""
    with machine.network():
        try:
            connection = socket.create_connection((host, PORT), timeout=10)
        except OSError:
            return False
    with connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return connection.recv(64).startswith(b"HTTP/1.1 200")


def restart_all(machine: Machine) -> None:
    machine.run("systemctl", "stop", *SOCKETS, UNIT)
    machine.run("systemctl", "start", UNIT)


async def test_port_is_held_on_both_loopback_addresses_also_while_the_service_is_stopped(
    service: Service, machine: Machine
) -> None:
    await service.wait_until_active()
    assert [answers(machine, host) for host in ("127.0.0.1", "::1")] == [True, True]
    said = machine.run("journalctl", "--no-pager", "-u", UNIT)
    assert "http.loopback" not in said
    assert [service.unit_property("ActiveState", unit) for unit in SOCKETS] == ["active"] * 2
    machine.run("systemctl", "stop", UNIT)
    taken = machine.run("python3", "-c", TAKE, check=False)
    assert "Address already in use" in taken


TAKE = f"import socket; socket.socket(socket.AF_INET6).bind(('::1', {PORT}))"


async def test_without_ipv6_on_loopback_tills_are_served_and_no_unit_fails(
    service: Service, machine: Machine
) -> None:
    machine.run("sysctl", "-w", "net.ipv6.conf.all.disable_ipv6=1")
    restart_all(machine)
    await service.wait_until_active()
    assert answers(machine, "127.0.0.1")
    assert "loyalty" not in machine.run("systemctl", "--failed", "--no-legend")


async def test_program_that_holds_the_ipv6_address_does_not_stop_the_agent(
    service: Service, machine: Machine
) -> None:
    machine.run("systemctl", "stop", *SOCKETS, UNIT)
    with machine.network():
        squatter = socket.create_server(("::1", PORT), family=socket.AF_INET6)
    with squatter:
        machine.run("systemctl", "start", UNIT)
        await service.wait_until_active()
        assert answers(machine, "127.0.0.1")
        assert service.status()["portTakenAt"] == f"[::1]:{PORT}"
    restart_all(machine)
    await service.wait_until_active()
    assert answers(machine, "::1")


async def test_socket_that_an_earlier_version_did_not_have_is_opened_by_an_upgrade(
    service: Service, machine: Machine, packages: Packages
) -> None:
    """As an earlier version left it: the unit unknown, the agent on 127.0.0.1 alone."""
    await service.wait_until_active()
    machine.run("systemctl", "disable", "--now", IPV6)
    service.install(packages.later)
    await service.wait_until_active()
    assert service.unit_property("ActiveState", IPV6) == "active"
    assert answers(machine, "::1")


async def test_discarding_is_kept_for_root(service: Service, machine: Machine) -> None:
    """With the setting but without the token the agent does not start; with it, root may."""
    config = machine.root / CONFIG
    setting = 'admin_token_file = "credential:admin-token"'
    config.write_text(
        config.read_text().replace('# admin_token_file = "credential:admin-token"', setting)
    )
    assert setting in config.read_text()
    machine.run("systemctl", "restart", UNIT, check=False)
    said = machine.run("journalctl", "--no-pager", "-u", UNIT)
    assert "the file is empty" in said
    (machine.root / ADMIN_TOKEN).write_text("s3cret~Token-of-more-than-20\n")
    machine.run("systemctl", "restart", UNIT)
    await service.wait_until_active()
    number = "00000000-0000-0000-0000-000000000000/1"
    discard = ("loyalty-agent", "--config", f"/{CONFIG}", "dead-letters", "discard", number)
    by_root = machine.run(*discard, check=False)
    by_other = machine.run("runuser", "-u", "nobody", "--", *discard, check=False)
    assert "No such dead letter" in by_root
    assert "run the command as root" in by_other

"""The package on a machine without network: install, upgrade, downgrade, purge."""

import pytest

from tests.machine.load import TILLS, assert_no_till_affected, tills_connecting
from tests.machine.machine import Machine
from tests.machine.packages import LATER_REVISION, LATER_VERSION, Packages
from tests.machine.service import HOST, PORT, UNIT, Service
from tests.support.till.crowd import Crowd
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.machine
CUSTOMERS = 5_000


async def capture(service: Service, ledger: TillLedger, customers: int) -> None:
    """Capture a session and an e-mail address of each customer."""
    with service.machine.network():
        crowd = Crowd(
            HOST,
            PORT,
            pairs=ledger.customers(customers),
            on_acknowledged=ledger.acknowledge,
            on_refused=ledger.refuse,
        )
        await crowd.open(TILLS)
    assert await crowd.finished(timeout_seconds=120)
    assert not ledger.refused
    assert not crowd.in_doubt


def revision(service: Service) -> str:
    script = (
        "import sqlite3; print(sqlite3.connect('file:/var/lib/loyalty-agent/agent.db?mode=ro',"
        " uri=True).execute('SELECT version_num FROM alembic_version').fetchone()[0])"
    )
    return service.machine.run("/usr/bin/python3", "-c", script).strip()


async def test_installed_package_serves_tills(machine: Machine, packages: Packages) -> None:
    service = Service(machine)
    service.install(packages.this)
    assert (await service.start_session()).status == 200
    await service.wait_until_active()
    resident = [
        line.split()[1]
        for line in machine.run(
            "cat", f"/proc/{service.unit_property('MainPID')}/status"
        ).splitlines()
        if line.startswith("VmRSS")
    ]
    machine.run("systemctl", "stop", UNIT)
    stopped_for = await service.seconds_to_first_answer()
    print(
        f"stopped to first answer {stopped_for:.2f} s,"
        f" package {packages.this.stat().st_size / 1e6:.1f} MB,"
        f" start to ready {service.seconds_to_ready():.2f} s, at idle {resident[0]} kB"
    )


async def test_installed_service_starts_at_boot(service: Service, machine: Machine) -> None:
    assert (await service.start_session()).status == 200
    machine.sync()
    machine.shut_down()
    machine.boot()
    print(f"boot to first answer {await service.seconds_to_first_answer():.2f} s")


async def test_upgrade_and_downgrade_keep_ten_thousand_queued_events(
    service: Service, packages: Packages
) -> None:
    """The later version has migrated the database by the time of the downgrade."""
    ledger = TillLedger()
    await capture(service, ledger, CUSTOMERS)
    service.install(packages.later)
    assert (await service.start_session()).status == 200
    assert service.status()["version"] == LATER_VERSION
    assert revision(service) == LATER_REVISION
    service.install(packages.this)
    await capture(service, ledger, 100)
    assert service.status()["version"] != LATER_VERSION
    assert service.status()["waiting"] == 2 * (CUSTOMERS + 100) + 1
    findings = ledger.compare(service.state)
    assert not findings.lost
    assert not findings.duplicated
    assert not findings.gaps


async def test_upgrade_under_load_refuses_no_request(service: Service, packages: Packages) -> None:
    ledger = TillLedger()
    async with tills_connecting(service, ledger) as tills:
        await service.run_in_thread(service.install, packages.later)
        await service.run_in_thread(service.install, packages.this)
    print(
        f"two upgrades, {len(ledger.acknowledged)} acknowledged,"
        f" longest wait {tills.longest_wait_seconds:.2f} s"
    )
    assert_no_till_affected(service, ledger, tills)


async def test_package_purge_keeps_the_queue_and_prints_its_path(
    service: Service, packages: Packages
) -> None:
    ledger = TillLedger()
    await capture(service, ledger, 10)
    said = service.machine.run("dpkg", "--purge", "loyalty-agent")
    assert "/var/lib/loyalty-agent was kept" in said
    assert not (service.machine.root / "etc/loyalty-agent").exists()
    service.install(packages.this)
    await capture(service, ledger, 1)
    findings = ledger.compare(service.state)
    assert not findings, findings


async def test_changed_configuration_survives_an_upgrade(
    service: Service, packages: Packages
) -> None:
    config = service.machine.root / "etc/loyalty-agent/config.toml"
    changed = config.read_text().replace('store_id = "unnamed-store"', 'store_id = "0042"')
    config.write_text(changed)
    service.install(packages.later)
    assert config.read_text() == changed
    assert (await service.start_session()).status == 200
    assert service.status()["storeId"] == "0042"

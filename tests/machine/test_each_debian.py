"""The package on each Debian that it is for: installed, upgraded, reloaded, with nobody to ask."""

import shutil
from pathlib import Path

import pytest

from tests.machine.load import assert_no_till_affected, tills_connecting
from tests.machine.machine import Machine
from tests.machine.packages import BEFORE_VERSION, LATER_VERSION, Packages
from tests.machine.service import UNIT, Service
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.machine
CONFIG = "etc/loyalty-agent/config.toml"
COPY = "var/lib/loyalty-agent/last-working-configuration.json"
RECEIVER = "loyalty-hq.service"
AS_RECEIVER = ("runuser", "-u", "loyalty-hq", "--", "loyalty-hq")


@pytest.fixture
def service(each_debian: Machine, packages: Packages) -> Service:
    """Install the package of this checkout on each Debian."""
    installed = Service(each_debian)
    installed.install(packages.this)
    return installed


def name_store(machine: Machine, name: str) -> None:
    """Set the store's name in the configuration."""
    config = machine.root / CONFIG
    lines = config.read_text().splitlines(keepends=True)
    config.write_text(
        "".join(f'store_id = "{name}"\n' if "store_id =" in line else line for line in lines)
    )


def break_settings(machine: Machine) -> None:
    """Add a setting that does not exist."""
    config = machine.root / CONFIG
    config.write_text(config.read_text().replace("[api]\n", "[api]\nprot = 1\n", 1))


def unpack(service: Service, package: Path) -> None:
    """Unpack a package without configuring it, as an installation that is interrupted."""
    shutil.copy(package, service.machine.root / "root")
    service.machine.run("dpkg", "--unpack", f"/root/{package.name}")


async def test_package_serves_exports_and_has_its_manual(
    service: Service, each_debian: Machine
) -> None:
    assert (await service.start_session()).status == 200
    each_debian.run("systemctl", "enable", "--now", RECEIVER)
    await service.wait_until_active(RECEIVER)
    export = "export sessions --format parquet --output /var/lib/loyalty-hq/sessions.parquet"
    each_debian.run(*AS_RECEIVER, *export.split())
    written = each_debian.root / "var/lib/loyalty-hq/sessions.parquet"
    assert written.read_bytes().endswith(b"PAR1")
    pages = each_debian.root / "usr/share/man/man1"
    if pages.exists():  # an image may be told to leave manuals out
        assert "loyalty-agent-status" in each_debian.run("man", "-P", "cat", "loyalty-agent-status")
    completion = each_debian.run("cat", "/usr/share/bash-completion/completions/loyalty-agent")
    assert "dead-letters" in completion


async def test_image_built_without_proc_and_systemd_serves_after_its_first_boot(
    machine_that_is_off: Machine, packages: Packages
) -> None:
    machine = machine_that_is_off
    shutil.copy(packages.this, machine.root / "root")
    machine.run_while_off("dpkg", "--install", f"/root/{packages.this.name}")
    machine.sync()
    machine.boot()
    service = Service(machine)
    await service.seconds_to_first_answer()
    assert (await service.start_session()).status == 200


async def test_upgrade_from_conffiles_and_back_keeps_edited_settings_without_a_question(
    each_debian: Machine, packages: Packages
) -> None:
    service, config = Service(each_debian), each_debian.root / CONFIG
    service.install(packages.before)
    name_store(each_debian, "0042")
    edited = config.read_bytes()
    for package, version in (
        (packages.this, None),
        (packages.later, LATER_VERSION),
        (packages.before, BEFORE_VERSION),
    ):
        service.install(package)
        assert config.read_bytes() == edited
        assert (await service.start_session()).status == 200
        found = each_debian.run("dpkg-query", "-W", "-f", "${Status} ${Version}", "loyalty-agent")
        assert found.startswith("install ok installed")
        assert version is None or found.endswith(version)
    assert {file.name for file in config.parent.iterdir()} == {"config.toml", "credentials"}


async def test_upgrade_interrupted_by_a_reboot_serves_and_is_finished_later(
    service: Service, each_debian: Machine, packages: Packages
) -> None:
    await service.wait_until_active()
    name_store(each_debian, "0042")
    unpack(service, packages.later)
    each_debian.sync()
    each_debian.shut_down()
    each_debian.boot()
    await service.seconds_to_first_answer()
    each_debian.run("dpkg", "--configure", "--pending")
    await service.wait_until_active()
    assert (await service.start_session()).status == 200
    assert service.status()["version"] == LATER_VERSION
    assert service.status()["storeId"] == "0042"


async def test_all_that_ran_runs_again_after_removal_and_installation(
    service: Service, each_debian: Machine, packages: Packages
) -> None:
    each_debian.run("systemctl", "enable", "--now", RECEIVER)
    await service.wait_until_active(RECEIVER)
    each_debian.run("dpkg", "--remove", "loyalty-agent")
    assert not (each_debian.root / "opt/loyalty-agent/versions").exists()
    service.install(packages.this)
    await service.wait_until_active(RECEIVER)
    assert (await service.start_session()).status == 200
    each_debian.run("dpkg", "--purge", "loyalty-agent")
    assert not (each_debian.root / "opt/loyalty-agent").exists()
    wants = each_debian.root / "etc/systemd/system"
    assert not [link for link in wants.rglob("loyalty-*") if link.is_symlink()]


async def test_reload_under_load_takes_new_settings_and_refuses_no_till(
    service: Service, each_debian: Machine
) -> None:
    ledger = TillLedger()
    async with tills_connecting(service, ledger) as tills:
        name_store(each_debian, "0042")
        await service.run_in_thread(each_debian.run, "systemctl", "reload", UNIT)
        assert service.status()["storeId"] == "0042"
    print(f"reload, longest wait {tills.longest_wait_seconds:.2f} s")
    assert_no_till_affected(service, ledger, tills)


async def test_reload_accepts_a_token_that_is_a_credential(
    service: Service, each_debian: Machine
) -> None:
    """As on every machine that has joined: systemd 252 hides the credentials from a reload."""
    await service.wait_until_active()
    token = each_debian.root / "etc/loyalty-agent/credentials/central-token"
    token.write_text("a-token-of-this-machine\n")
    config = each_debian.root / CONFIG
    setting = 'token_file = "credential:central-token"'
    config.write_text(config.read_text().replace("[api]\n", f"[api]\n{setting}\n", 1))
    each_debian.run("systemctl", "restart", UNIT)
    await service.wait_until_active()
    each_debian.run("systemctl", "reload", UNIT)


async def test_reload_of_wrong_settings_fails_with_the_reason_and_the_process_goes_on(
    service: Service, each_debian: Machine
) -> None:
    await service.wait_until_active()
    process = service.unit_property("MainPID")
    break_settings(each_debian)
    said = each_debian.run("systemctl", "reload", UNIT, check=False)
    assert "failed" in said
    assert "prot" in each_debian.run("systemctl", "status", UNIT)
    assert service.unit_property("MainPID") == process
    assert (await service.start_session()).status == 200


async def test_restart_with_wrong_settings_serves_and_says_so(
    service: Service, each_debian: Machine
) -> None:
    await service.wait_until_active()
    break_settings(each_debian)
    each_debian.run("systemctl", "restart", UNIT)
    await service.wait_until_active()
    assert (await service.start_session()).status == 200
    assert "prot" in service.unit_property("StatusText")


async def test_till_gets_503_at_once_where_no_settings_ever_worked(
    service: Service, each_debian: Machine
) -> None:
    await service.wait_until_active()
    break_settings(each_debian)
    (each_debian.root / COPY).unlink()
    each_debian.run("systemctl", "restart", "--no-block", UNIT)
    answers = {(await service.start_session()).status for _ in range(2)}
    assert 503 in answers

"""The units checked with systemd-analyze, and the settings that the programs rely on."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sync.runtime.network.loopback import addresses_of
from tests.support.processes import ROOT

SYSTEMD = ROOT / "systemd"
SOCKETS = ("loyalty-agent.socket", "loyalty-agent-ipv6.socket")
UNITS = ("loyalty-agent.service", *SOCKETS, "loyalty-hq.service")
SERVICES = ("loyalty-agent.service", "loyalty-hq.service")
LOADED = re.compile(r"^LoadCredential=([^:]+):", re.MULTILINE)
DEFAULTED = re.compile(r"^SetCredential=([^:]+):", re.MULTILINE)
RELOADED = re.compile(r"^ExecReload=(.*)$", re.MULTILINE)
NAMED = re.compile(r'"credential:([^"]+)"')


def analyze() -> str:
    """Return the path of systemd-analyze; skip the test if it is not installed."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("no unit was checked: systemd-analyze (package systemd) is missing")
    return found


def machine_in(directory: Path) -> Path:
    """Create a root directory with the units, their executables, and systemd's targets."""
    programs = directory / "opt/loyalty-agent/current/bin"
    targets = directory / "usr/lib/systemd/system"
    units = directory / "etc/systemd/system"
    for folder in (programs, targets, units):
        folder.mkdir(parents=True)
    for name in ("loyalty-agent", "loyalty-hq"):
        (programs / name).touch(mode=0o755)
    for target in Path("/usr/lib/systemd/system").glob("*.target"):
        shutil.copy(target, targets)
    for unit in UNITS:
        shutil.copy(SYSTEMD / unit, units)
    return directory


def verified(root: Path) -> str:
    """Return the complaints of systemd-analyze about the units in `root`."""
    command = (analyze(), "verify", "--man=no", f"--root={root}", *UNITS)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"{done.returncode}")


def text_of(unit: str) -> str:
    return (SYSTEMD / unit).read_text()


@pytest.mark.process
def test_systemd_analyze_reports_no_problem_in_the_units(tmp_path: Path) -> None:
    assert verified(machine_in(tmp_path)) == ""


@pytest.mark.process
def test_systemd_analyze_reports_a_misspelled_setting(tmp_path: Path) -> None:
    """Control: proves that the check reads these files."""
    unit = machine_in(tmp_path) / "etc/systemd/system/loyalty-hq.service"
    unit.write_text(unit.read_text().replace("TasksMax=", "TaskMax="))
    assert "TaskMax" in verified(tmp_path)


@pytest.mark.process
@pytest.mark.parametrize(
    ("unit", "tenths"), [("loyalty-agent.service", 11), ("loyalty-hq.service", 15)]
)
def test_sandbox_exposure_is_below_the_limit(unit: str, tenths: int) -> None:
    """Exposure by systemd-analyze, 0 to 10; telegraf's unit has 9.2."""
    judge = (analyze(), "security", "--offline=true", f"--threshold={tenths}")
    done = subprocess.run((*judge, SYSTEMD / unit), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", UNITS)
def test_every_setting_of_a_unit_has_a_comment_above_it(unit: str) -> None:
    """One comment may cover up to seven consecutive settings."""
    lines_under_a_reason = 99
    for line in text_of(unit).splitlines():
        if line.startswith("#"):
            lines_under_a_reason = 0
        elif "=" in line and not line.startswith("Description="):
            lines_under_a_reason += 1
            assert lines_under_a_reason <= 7, line


@pytest.mark.parametrize("unit", SERVICES)
def test_service_is_always_restarted_without_a_start_limit(unit: str) -> None:
    """By default systemd gives up on a service after five quick starts."""
    assert "\nRestart=always\n" in text_of(unit)
    assert "\nStartLimitIntervalSec=0\n" in text_of(unit)


@pytest.mark.parametrize("unit", SERVICES)
def test_reload_checks_the_configuration_of_the_service_before_it_restarts_it(unit: str) -> None:
    program = unit.removesuffix(".service")
    check, restart = RELOADED.findall(text_of(unit))
    started = re.search(r"^ExecStart=(.*) \w+$", text_of(unit), re.MULTILINE)
    assert started
    assert check == f"+{started[1]} check-config"
    assert f"/etc/{program}/config.toml" in check
    assert restart.endswith("systemctl --no-block restart %n'")


@pytest.mark.parametrize("unit", SERVICES)
def test_service_has_its_own_user_and_a_private_state_directory(unit: str) -> None:
    program = unit.removesuffix(".service")
    assert f"\nUser={program}\n" in text_of(unit)
    assert "\nStateDirectoryMode=0700\n" in text_of(unit)


@pytest.mark.parametrize("unit", UNITS)
def test_no_unit_waits_for_the_network(unit: str) -> None:
    assert "network-online" not in text_of(unit)


@pytest.mark.parametrize("unit", SERVICES)
def test_missing_credential_does_not_fail_the_start(unit: str) -> None:
    loaded = set(LOADED.findall(text_of(unit))) - {"boot-id"}
    assert loaded == set(DEFAULTED.findall(text_of(unit)))


def test_every_credential_in_the_example_configuration_is_loaded() -> None:
    agents_part = (ROOT / "config.example.toml").read_text().partition("\n#|")[0]
    named = set(NAMED.findall(agents_part)) - {"NAME"}
    assert named
    assert named <= set(LOADED.findall(text_of("loyalty-agent.service")))


def test_socket_units_listen_on_the_default_port_of_both_loopback_addresses() -> None:
    example = (ROOT / "config.example.toml").read_text()
    host, port = (
        re.search(pattern, example, re.MULTILINE)
        for pattern in (r'^host = "([^"]+)"', r"^port = (\d+)")
    )
    assert host
    assert port
    first, other = addresses_of(host[1])
    assert f"\nListenStream={first}:{port[1]}\n" in text_of("loyalty-agent.socket")
    assert f"\nListenStream=[{other}]:{port[1]}\n" in text_of("loyalty-agent-ipv6.socket")

"""The units as systemd's own tools judge them, and what the programs rely on in them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.crash.child import ROOT

SYSTEMD = ROOT / "systemd"
UNITS = ("loyalty-agent.service", "loyalty-agent.socket", "loyalty-hq.service")
SERVICES = ("loyalty-agent.service", "loyalty-hq.service")
LOADED = re.compile(r"^LoadCredential=([^:]+):", re.MULTILINE)
DEFAULTED = re.compile(r"^SetCredential=([^:]+):", re.MULTILINE)
NAMED = re.compile(r'"credential:([^"]+)"')


def analyze() -> str:
    """Return where systemd-analyze is; skip, and say so, where there is none."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("no unit was checked: systemd-analyze (package systemd) is missing")
    return found


def machine_in(directory: Path) -> Path:
    """Make a root directory with the units, the programs they start, and systemd's targets."""
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
    """Return what systemd has to say against the units in `root`."""
    command = (analyze(), "verify", "--man=no", f"--root={root}", *UNITS)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"{done.returncode}")


def text_of(unit: str) -> str:
    return (SYSTEMD / unit).read_text()


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    assert verified(machine_in(tmp_path)) == ""


def test_systemd_would_find_a_misspelt_setting(tmp_path: Path) -> None:
    """The control: the check is made on these very files."""
    unit = machine_in(tmp_path) / "etc/systemd/system/loyalty-hq.service"
    unit.write_text(unit.read_text().replace("TasksMax=", "TaskMax="))
    assert "TaskMax" in verified(tmp_path)


@pytest.mark.parametrize(
    ("unit", "tenths"), [("loyalty-agent.service", 11), ("loyalty-hq.service", 15)]
)
def test_the_sandbox_is_as_tight_as_promised(unit: str, tenths: int) -> None:
    """systemd's own exposure, 0 to 10; telegraf's unit has 9.2."""
    judge = (analyze(), "security", "--offline=true", f"--threshold={tenths}")
    done = subprocess.run((*judge, SYSTEMD / unit), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", UNITS)
def test_every_line_of_a_unit_has_its_reason_above_it(unit: str) -> None:
    """A reason may count for the lines that follow at once, up to seven of one family."""
    lines_under_a_reason = 99
    for line in text_of(unit).splitlines():
        if line.startswith("#"):
            lines_under_a_reason = 0
        elif "=" in line and not line.startswith("Description="):
            lines_under_a_reason += 1
            assert lines_under_a_reason <= 7, line


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_is_started_again_however_it_ended_and_however_often(unit: str) -> None:
    """After five quick starts systemd gives a service up for good, unless told otherwise."""
    assert "\nRestart=always\n" in text_of(unit)
    assert "\nStartLimitIntervalSec=0\n" in text_of(unit)


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_keeps_its_files_as_a_user_of_its_own_for_itself(unit: str) -> None:
    program = unit.removesuffix(".service")
    assert f"\nUser={program}\n" in text_of(unit)
    assert "\nStateDirectoryMode=0700\n" in text_of(unit)


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_waits_for_the_network_to_be_up(unit: str) -> None:
    assert "network-online" not in text_of(unit)


@pytest.mark.parametrize("unit", SERVICES)
def test_a_credential_that_is_not_there_yet_does_not_fail_the_start(unit: str) -> None:
    loaded = set(LOADED.findall(text_of(unit))) - {"boot-id"}
    assert loaded == set(DEFAULTED.findall(text_of(unit)))


def test_every_credential_that_the_example_names_is_loaded() -> None:
    agents_part = (ROOT / "config.example.toml").read_text().partition("\n#|")[0]
    named = set(NAMED.findall(agents_part)) - {"NAME"}
    assert named
    assert named <= set(LOADED.findall(text_of("loyalty-agent.service")))


def test_the_socket_listens_where_an_agent_without_settings_would() -> None:
    example = (ROOT / "config.example.toml").read_text()
    host, port = (
        re.search(pattern, example, re.MULTILINE)
        for pattern in (r'^host = "([^"]+)"', r"^port = (\d+)")
    )
    assert host
    assert port
    assert f"\nListenStream={host[1]}:{port[1]}\n" in text_of("loyalty-agent.socket")

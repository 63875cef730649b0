"""Fixtures: a new machine for each test; the packages, built once a session."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.machine.debian import HOST, debian_13
from tests.machine.machine import Machine, keep_mounts_private
from tests.machine.packages import Packages, build_packages
from tests.machine.service import Service


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Build the packages, or use those in the directory LOYALTY_PACKAGES."""
    given = os.environ.get("LOYALTY_PACKAGES")
    return build_packages(Path(given) if given else tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def private_mounts() -> None:
    """Hide the machines' mounts from other processes."""
    keep_mounts_private()


@pytest.fixture
def machine(private_mounts: None) -> Iterator[Machine]:
    """Create and boot a machine. Its only network is its own loopback."""
    with _machine(HOST) as made:
        made.boot()
        yield made


@pytest.fixture(scope="session")
def other_debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root directory of a Debian 13."""
    return debian_13(tmp_path_factory.mktemp("debian"))


@pytest.fixture(params=["this host's Debian", "Debian 13"])
def machine_that_is_off(request: pytest.FixtureRequest, private_mounts: None) -> Iterator[Machine]:
    """Create a machine of each Debian that the package is for, and leave it off."""
    is_host = request.param == "this host's Debian"
    with _machine(HOST if is_host else request.getfixturevalue("other_debian")) as made:
        yield made


@pytest.fixture
def each_debian(machine_that_is_off: Machine) -> Machine:
    """Boot a machine of each Debian that the package is for."""
    machine_that_is_off.boot()
    return machine_that_is_off


@contextmanager
def _machine(debian: Path) -> Iterator[Machine]:
    # Not in pytest's directory, because pytest deletes old ones.
    made = Machine(Path(tempfile.mkdtemp(prefix="loyalty-machine-", dir="/var/tmp")), debian)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def service(machine: Machine, packages: Packages) -> Service:
    """Install the package of this checkout."""
    installed = Service(machine)
    installed.install(packages.this)
    return installed

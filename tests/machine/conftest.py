"""Fixtures: a new machine for each test; the packages, built once a session."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    # Not in pytest's directory, because pytest deletes old ones.
    made = Machine(Path(tempfile.mkdtemp(prefix="loyalty-machine-", dir="/var/tmp")))
    try:
        made.boot()
        yield made
    finally:
        made.remove()


@pytest.fixture
def service(machine: Machine, packages: Packages) -> Service:
    """Install the package of this checkout."""
    installed = Service(machine)
    installed.install(packages.this)
    return installed

"""Declared and locked dependencies stay above the versions with known weaknesses."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
DECLARED = {
    str(canonicalize_name(requirement.name)): requirement
    for line in [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    for requirement in [Requirement(line)]
}
LOCKED = {
    str(canonicalize_name(name)): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE
    )
}
# The first version without the weakness or regression, and which it is.
FIXED_IN = {
    # Timeouts that stay on a pooled connection: aio-libs/aiohttp#12795 (3.14.2). Request smuggling:
    # CVE-2026-69243, PYSEC-2026-4371. A scheme that the caller chooses: PYSEC-2026-4369.
    "aiohttp": "3.14.4",
    # Buffer overflow: CVE-2026-39892. Wildcard names in certificates: CVE-2026-34073.
    # Oracle when decrypting: CVE-2026-69247.
    "cryptography": "50.0.0",
    # Templates leave their sandbox: CVE-2025-27516.
    "jinja2": "3.1.6",
    # Path traversal: CVE-2026-41205, CVE-2026-44307, CVE-2026-102991. Comes with alembic.
    "mako": "1.4.2",
    # A link out of a directory of secrets is followed: GHSA-4xgf-cpjx-pc3j.
    "pydantic-settings": "2.14.2",
    # Regular expression that takes for ever: CVE-2026-4539. Comes with rich.
    "pygments": "2.20.0",
    # Predictable temporary directories: CVE-2025-71176.
    "pytest": "9.0.3",
}


@pytest.mark.parametrize(("name", "fixed"), FIXED_IN.items())
def test_locked_version_is_not_below_a_known_fix(name: str, fixed: str) -> None:
    assert Version(LOCKED[name]) >= Version(fixed)


@pytest.mark.parametrize("name", sorted(FIXED_IN.keys() & DECLARED.keys()))
def test_version_before_a_known_fix_is_not_admitted(name: str) -> None:
    fixed = Version(FIXED_IN[name])
    [floor] = [Version(one.version) for one in DECLARED[name].specifier if one.operator == ">="]

    assert floor >= fixed


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_locked_version_is_one_that_is_declared(name: str) -> None:
    assert LOCKED[name] in DECLARED[name].specifier

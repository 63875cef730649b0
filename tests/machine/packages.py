"""The packages under test, built by the documented command: this version and a later one."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

VERSION = '\nversion = "'
LATER_VERSION = "99.0.0"
# A later version may only add to the database schema.
LATER_REVISION = "9999"
_MIGRATION = f'''"""A later version's column."""

import sqlalchemy as sa
from alembic import op

revision = "{LATER_REVISION}"
down_revision = "{{before}}"


def upgrade() -> None:
    """Add it."""
    op.add_column("session", sa.Column("later", sa.Text))
'''


@dataclass(frozen=True, slots=True)
class Packages:
    """Paths of the package of this checkout and of one of a later version."""

    this: Path
    later: Path


def build_packages(place: Path) -> Packages:
    """Build both packages, unless `place` already contains them."""
    this = _built(ROOT, place / "this")
    later = place / "later"
    if not list(later.glob("*.deb")):
        _copy_as_later(place / "source")
    return Packages(this, _built(place / "source", later))


def _built(checkout: Path, place: Path) -> Path:
    if not list(place.glob("*.deb")):
        environ = os.environ | {"SOURCE_DATE_EPOCH": "1767225600"}
        command = (checkout / "systemd/build-deb", place)
        subprocess.run(command, check=True, capture_output=True, env=environ)
    (package,) = place.glob("*.deb")
    return package


def _copy_as_later(source: Path) -> None:
    ignored = shutil.ignore_patterns(".*", "dist", "build", "__pycache__", "tests")
    shutil.copytree(ROOT, source, ignore=ignored)
    project = source / "pyproject.toml"
    before, _, rest = project.read_text().partition(VERSION)
    project.write_text(f'{before}{VERSION}{LATER_VERSION}"{rest.partition(chr(34))[2]}')
    schema = source / "agent/store/db/migrate.py"
    head, _, tail = schema.read_text().partition('NEWEST_REVISION = "')
    newest, _, tail = tail.partition('"')
    schema.write_text(f'{head}NEWEST_REVISION = "{LATER_REVISION}"{tail}')
    later = source / "agent/store/db/migrations/versions" / f"r{LATER_REVISION}_later.py"
    later.write_text(_MIGRATION.format(before=newest))

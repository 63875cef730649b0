"""The packages under test, built by the documented command: this version and a later one.

Another one is as packages were until 0.1.0: the settings are conffiles, with the scripts of then.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

VERSION = '\nversion = "'
LATER_VERSION = "99.0.0"
BEFORE_VERSION = "0.0.9"
_BEFORE_CONTROL = f"Version: {BEFORE_VERSION}"
PROGRAMS = ("loyalty-agent", "loyalty-hq")
SCRIPTS = Path(__file__).with_name("before")
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
    """Paths of the package of this checkout, of one of a later version, and of one as before."""

    this: Path
    later: Path
    before: Path


def build_packages(place: Path) -> Packages:
    """Build both packages, unless `place` already contains them."""
    this = _built(ROOT, place / "this")
    later = place / "later"
    if not list(later.glob("*.deb")):
        _copy_as_later(place / "source")
    before = place / f"loyalty-agent_{BEFORE_VERSION}.deb"
    if not before.exists():
        _convert_to_before(this, place / "before", before)
    return Packages(this, _built(place / "source", later), before)


def _convert_to_before(this: Path, tree: Path, package: Path) -> None:
    """Repack `this` with the settings as conffiles and the maintainer scripts of then."""
    subprocess.run(("dpkg-deb", "-R", this, tree), check=True)
    control = tree / "DEBIAN/control"
    version = next(
        line.removeprefix("Version: ")
        for line in control.read_text().splitlines()
        if line.startswith("Version: ")
    )
    control.write_text(control.read_text().replace(f"Version: {version}", _BEFORE_CONTROL, 1))
    versions = tree / "opt/loyalty-agent/versions"
    (versions / version).rename(versions / BEFORE_VERSION)
    for program in PROGRAMS:
        script = versions / BEFORE_VERSION / "bin" / program
        script.write_text(script.read_text().replace(f"/{version}/", f"/{BEFORE_VERSION}/", 1))
        shutil.copy(tree / f"usr/share/{program}/config.toml", tree / f"etc/{program}")
        rules = tree / f"usr/lib/tmpfiles.d/{program}.conf"
        rules.parent.mkdir(exist_ok=True)
        shutil.copy(SCRIPTS / f"{program}.tmpfiles", rules)
    (tree / "DEBIAN/preinst").unlink()
    (tree / "DEBIAN/md5sums").unlink()
    for name in ("postinst", "prerm", "postrm"):
        text = (SCRIPTS / name).read_text().replace("@VERSION@", BEFORE_VERSION)
        (tree / "DEBIAN" / name).write_text(text)
    conffiles = "".join(f"/etc/{program}/config.toml\n" for program in PROGRAMS)
    (tree / "DEBIAN/conffiles").write_text(conffiles)
    build = ("dpkg-deb", "--root-owner-group", "-Zzstd", "-z1", "--build", tree, package)
    subprocess.run(build, check=True, capture_output=True)
    shutil.rmtree(tree)


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

"""Small packages with the real maintainer scripts, installed by the real dpkg below a directory."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import ROOT

PROGRAMS = ("loyalty-agent", "loyalty-hq")
# Tools of the machine that the scripts call; the real ones would act on this machine.
_TOOLS = ("systemctl", "systemd-sysusers", "deb-systemd-helper", "deb-systemd-invoke")
_NO_CHECKS = "--force-not-root,script-chrootless,bad-path"
_CONTROL = """Package: loyalty-agent
Version: {version}
Architecture: all
Maintainer: nobody <nobody@example.com>
Description: the maintainer scripts and the settings
"""


@dataclass(frozen=True, slots=True)
class Built:
    """A package file and its version."""

    file: Path
    version: str


def build(place: Path, version: str, settings: str) -> Built:
    """Build a package with this checkout's maintainer scripts and `settings` as its defaults."""
    tree = _tree(place, version)
    for program in PROGRAMS:
        _write(tree / f"usr/share/{program}/config.toml", settings)
        (tree / f"etc/{program}/credentials").mkdir(parents=True)
    for name in ("preinst", "postinst", "prerm", "postrm"):
        script = (ROOT / "systemd/deb" / name).read_text().replace("@VERSION@", version)
        _write(tree / "DEBIAN" / name, script).chmod(0o755)
    return _packed(tree, version)


def build_with_conffiles(place: Path, version: str, settings: str) -> Built:
    """Build a package as it was until version 0.1.0: the settings are conffiles."""
    tree = _tree(place, version)
    for program in PROGRAMS:
        _write(tree / f"etc/{program}/config.toml", settings)
    _write(tree / "DEBIAN/conffiles", "".join(f"/etc/{name}/config.toml\n" for name in PROGRAMS))
    return _packed(tree, version)


class Root:
    """A root directory with a dpkg database; standard input of its commands is at its end."""

    def __init__(self, place: Path) -> None:
        if shutil.which("dpkg-deb") is None:
            pytest.skip("no package was installed: dpkg is missing")
        self.path = place / "root"
        self._tools = place / "tools"
        for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"):
            (self.path / folder).mkdir(parents=True)
        for file in ("status", "available"):
            (self.path / "var/lib/dpkg" / file).touch()
        for tool in _TOOLS:
            _write(self._tools / tool, "#!/bin/sh\n").chmod(0o755)

    def dpkg(self, *arguments: str | Path) -> str:
        """Run dpkg; return its output. Raises `AssertionError` if it fails."""
        command = ("dpkg", _NO_CHECKS, f"--root={self.path}", *map(str, arguments))
        path = f"{self._tools}:/usr/sbin:/usr/bin:/sbin:/bin"
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def install(self, package: Built) -> str:
        """Install a package; return the output."""
        return self.dpkg("--install", package.file)

    def installed(self) -> str:
        """Return the version and state that dpkg has recorded."""
        return self.query("${Version} ${db:Status-Status}")

    def query(self, form: str) -> str:
        """Return fields of the package."""
        command = ("dpkg-query", f"--admindir={self.path}/var/lib/dpkg", "-W", "-f", form)
        done = subprocess.run(
            (*command, "loyalty-agent"), capture_output=True, text=True, check=True
        )
        return done.stdout

    def settings(self, program: str = "loyalty-agent") -> Path:
        """Return the path of a program's settings."""
        return self.path / f"etc/{program}/config.toml"


def _tree(place: Path, version: str) -> Path:
    tree = place / f"tree-{version}"
    _write(tree / f"opt/loyalty-agent/versions/{version}/bin/loyalty-agent", "#!/bin/sh\n").chmod(
        0o755
    )
    _write(tree / "DEBIAN/control", _CONTROL.format(version=version))
    return tree


def _packed(tree: Path, version: str) -> Built:
    file = tree.parent / f"{version}.deb"
    subprocess.run(
        ("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, file),
        check=True,
        capture_output=True,
    )
    return Built(file, version)


def _write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o644)
    return file

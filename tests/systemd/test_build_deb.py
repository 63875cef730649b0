"""`build-deb`: the modules for another Python, beside the same Python code."""

import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

pytestmark = pytest.mark.process
# The function with a pip that installs two modules and the headers of one.
SCRIPT = """
set -euo pipefail
work=$1 site=$1/site glibcs=36 pip=fake_pip
mkdir "$site"
echo same > "$site/module.py"
echo own > "$site/own.so"
fake_pip() {
    mkdir -p "$work/python3.13/include/site" "$work/python3.13/bin"
    echo "$code" > "$work/python3.13/module.py"
    echo other > "$work/python3.13/other.so"
}
add_python 3.13
"""


def add_python(place: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Add the modules for another Python, whose Python code is `code`."""
    builder = (ROOT / "systemd/build-deb").read_text()
    function = builder[builder.index("add_python() {") : builder.index("system_files() {")]
    return subprocess.run(
        ["bash", "-c", function + SCRIPT, "bash", str(place)],
        env={"PATH": "/usr/bin:/bin", "code": code},
        capture_output=True,
        text=True,
        check=False,
    )


def test_modules_for_another_python_are_added_without_a_word(tmp_path: Path) -> None:
    """The headers of one were called a difference, in a line that nobody could explain."""
    done = add_python(tmp_path, "same")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {one.name for one in (tmp_path / "site").iterdir()} == {
        "module.py",
        "other.so",
        "own.so",
    }


def test_packages_with_other_python_code_are_refused(tmp_path: Path) -> None:
    done = add_python(tmp_path, "changed")
    assert done.returncode == 1
    assert "module.py differ" in done.stderr
    assert "the packages for Python 3.13 have other files" in done.stderr

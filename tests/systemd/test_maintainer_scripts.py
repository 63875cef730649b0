"""The maintainer scripts with the real dpkg and nobody at the terminal: settings are never asked
for, overwritten or brought back."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.systemd.dpkg import PROGRAMS, Built, Root, build, build_with_conffiles

pytestmark = pytest.mark.process
DEFAULTS = "# defaults\n"
LATER_DEFAULTS = "# defaults, and a new setting\n"
EDITED = '# defaults\n[store]\nstore_id = "0042"\n'


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


@pytest.fixture
def before(root: Root, tmp_path: Path) -> Built:
    return build_with_conffiles(tmp_path, "0.1.0", DEFAULTS)


@pytest.fixture
def this(root: Root, tmp_path: Path) -> Built:
    return build(tmp_path, "0.2.0", LATER_DEFAULTS)


@pytest.fixture
def later(root: Root, tmp_path: Path) -> Built:
    return build(tmp_path, "0.3.0", DEFAULTS + "# third\n")


def files_in_etc(root: Root) -> set[str]:
    """Return the names of the files below /etc."""
    return {
        str(file.relative_to(root.path / "etc"))
        for file in (root.path / "etc").rglob("*")
        if not file.is_dir()
    }


def test_package_has_its_version_everywhere_in_its_scripts() -> None:
    """Where it was twice in a line, an upgrade left the compiled files of the version before."""
    builder = (ROOT / "systemd/build-deb").read_text()
    found = re.search(r'sed "(s\|@VERSION@\S+)" \S+/systemd/deb/', builder)
    assert found is not None
    substitution = found[1].replace("$version", "0.2.0")
    for script in ("preinst", "postinst", "prerm", "postrm"):
        written = subprocess.run(
            ("sed", substitution, ROOT / "systemd/deb" / script),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert "0.2.0" in written
        assert "@VERSION@" not in written


def test_first_installation_writes_the_settings_of_both_programs(root: Root, this: Built) -> None:
    root.install(this)
    for program in PROGRAMS:
        assert root.settings(program).read_text() == LATER_DEFAULTS
        assert root.settings(program).stat().st_mode & 0o777 == 0o644
    assert root.query("${Conffiles}") == ""


def test_settings_that_were_there_before_the_first_installation_are_kept(
    root: Root, this: Built
) -> None:
    root.settings().parent.mkdir()
    root.settings().write_text(EDITED)
    root.install(this)
    assert root.settings().read_text() == EDITED


@pytest.mark.parametrize("text", [EDITED, DEFAULTS], ids=["edited", "unedited"])
def test_upgrade_from_settings_that_were_a_conffile_keeps_them_and_asks_nothing(
    root: Root, before: Built, this: Built, text: str
) -> None:
    root.install(before)
    root.settings().write_text(text)
    said = root.install(this)
    assert root.settings().read_text() == text
    assert root.installed() == "0.2.0 installed"
    assert "Configuration file" not in said
    assert files_in_etc(root) == {f"{program}/config.toml" for program in PROGRAMS}


@pytest.mark.parametrize("settings_were", ["a conffile", "the administrator's"])
def test_settings_that_the_administrator_deleted_do_not_come_back(
    root: Root, before: Built, this: Built, later: Built, settings_were: str
) -> None:
    root.install(before if settings_were == "a conffile" else this)
    root.settings().unlink()
    root.install(this if settings_were == "a conffile" else later)
    assert not root.settings().exists()
    assert root.settings("loyalty-hq").exists()


def test_upgrade_keeps_edited_settings_beside_new_defaults(
    root: Root, this: Built, later: Built
) -> None:
    root.install(this)
    root.settings().write_text(EDITED)
    root.install(later)
    assert root.settings().read_text() == EDITED
    assert root.installed() == "0.3.0 installed"


def test_downgrade_to_the_version_with_conffiles_keeps_edited_settings_and_asks_nothing(
    root: Root, before: Built, this: Built, later: Built
) -> None:
    """dpkg still knows the conffile's defaults (as obsolete), and so does not ask."""
    root.install(before)
    root.settings().write_text(EDITED)
    root.install(this)
    root.install(later)
    root.install(before)
    assert root.settings().read_text() == EDITED
    assert root.installed() == "0.1.0 installed"


def test_upgrade_that_was_interrupted_before_its_configuration_is_finished_later(
    root: Root, before: Built, this: Built
) -> None:
    root.install(before)
    root.settings().write_text(EDITED)
    root.dpkg("--unpack", this.file)
    assert root.installed() == "0.2.0 unpacked"
    root.dpkg("--configure", "--pending")
    assert root.installed() == "0.2.0 installed"
    assert root.settings().read_text() == EDITED
    current = root.path / "opt/loyalty-agent/current"
    assert (current / "bin/loyalty-agent").exists()


def test_settings_and_their_edits_survive_a_removal_and_a_new_installation(
    root: Root, this: Built, later: Built
) -> None:
    root.install(this)
    root.settings().write_text(EDITED)
    root.dpkg("--remove", "loyalty-agent")
    assert root.settings().read_text() == EDITED
    root.install(later)
    assert root.settings().read_text() == EDITED


@pytest.mark.parametrize("settings_were", ["a conffile", "the administrator's"])
def test_purge_removes_the_settings_and_keeps_captures_and_secrets_with_a_word(
    root: Root, before: Built, this: Built, settings_were: str
) -> None:
    if settings_were == "a conffile":
        root.install(before)
    root.install(this)
    root.settings().write_text(EDITED)
    state = root.path / "var/lib/loyalty-agent/agent.db"
    state.parent.mkdir()
    state.write_text("captures")
    secret = root.path / "etc/loyalty-agent/credentials/central-token"
    secret.write_text("token")
    said = root.dpkg("--purge", "loyalty-agent")
    assert files_in_etc(root) == {"loyalty-agent/credentials/central-token"}
    assert state.read_text() == "captures"
    assert "/var/lib/loyalty-agent was kept" in said
    assert "/etc/loyalty-agent was kept" in said
    assert not (root.path / "etc/loyalty-hq").exists()
    assert not (root.path / "opt/loyalty-agent").exists()


def test_upgrade_leaves_no_compiled_module_of_the_version_before(
    root: Root, this: Built, later: Built
) -> None:
    root.install(this)
    code = root.path / "opt/loyalty-agent/versions"
    compiled = code / "0.2.0/bin/__pycache__"
    compiled.mkdir()
    (compiled / "module.cpython-313.pyc").touch()
    root.install(later)
    assert [folder.name for folder in code.iterdir()] == ["0.3.0"]

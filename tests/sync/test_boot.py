"""Which boot this is: from systemd's credential, else from the kernel, else not known."""

from pathlib import Path

from sync.runtime.boot_id import read_boot_id

BOOT = "6e1f1c2a-8f0d-4d7b-9d43-1f2b5a9c0e11"


def test_the_credential_goes_before_the_kernel_file(tmp_path: Path) -> None:
    (tmp_path / "boot-id").write_text(f"{BOOT}\n")
    (tmp_path / "kernel").write_text("another\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_boot_id(environ, tmp_path / "kernel") == BOOT


def test_without_the_credential_the_kernel_is_asked(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_text(f"{BOOT}\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_boot_id(environ, tmp_path / "kernel") == BOOT


def test_where_both_are_hidden_it_is_not_known(tmp_path: Path) -> None:
    assert read_boot_id({}, tmp_path / "hidden") is None

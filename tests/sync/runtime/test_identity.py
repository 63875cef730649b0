"""Boot ID: from systemd's credential, else from the kernel, else None."""

from pathlib import Path

from sync.runtime.identity import read_boot_id

BOOT = "6e1f1c2a-8f0d-4d7b-9d43-1f2b5a9c0e11"


def test_boot_id_credential_takes_precedence_over_the_kernel_file(tmp_path: Path) -> None:
    (tmp_path / "boot-id").write_text(f"{BOOT}\n")
    (tmp_path / "kernel").write_text("another\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_boot_id(environ, tmp_path / "kernel") == BOOT


def test_boot_id_is_read_from_the_kernel_without_a_credential(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_text(f"{BOOT}\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_boot_id(environ, tmp_path / "kernel") == BOOT


def test_boot_id_is_none_if_both_files_are_hidden(tmp_path: Path) -> None:
    assert read_boot_id({}, tmp_path / "hidden") is None

"""Authors of audit entries: user and origin, safe to print."""

import os
import pwd
from pathlib import Path

import pytest

from sync.receiver.audit.author import Author, author_of_command

OURSELVES = pwd.getpwuid(os.getuid()).pw_name


def test_command_names_user_ssh_client_and_host(tmp_path: Path) -> None:
    environ = {"SSH_CONNECTION": "192.0.2.7 50000 192.0.2.1 22"}

    author = author_of_command(environ, host=lambda: "hq-1", login_uid_file=tmp_path / "none")

    assert author.user == OURSELVES
    assert author.origin.startswith("ssh 192.0.2.7, ")
    assert author.origin.endswith(", host hq-1")


def test_command_names_the_user_who_logged_in_before_sudo(tmp_path: Path) -> None:
    kept = tmp_path / "loginuid"
    kept.write_text("987654")

    author = author_of_command({"SUDO_USER": "mallory"}, login_uid_file=kept)

    assert author.user == f"{OURSELVES} (login uid 987654)"


def test_sudo_names_the_user_where_the_kernel_does_not(tmp_path: Path) -> None:
    kept = tmp_path / "loginuid"
    kept.write_text("4294967295")

    author = author_of_command({"SUDO_USER": "alice"}, login_uid_file=kept)

    assert author.user == f"{OURSELVES} (login alice)"


@pytest.mark.parametrize("hostile", ["\x1b[31m", "\u202e", "\x9b2J", "\udcff", "\n"])
def test_author_is_printable(hostile: str) -> None:
    author = Author(f"alice{hostile}", f"peer{hostile}")

    assert f"{author.user}{author.origin}".isprintable()


def test_author_is_bounded() -> None:
    assert len(Author("x" * 10_000, "").user) < 300

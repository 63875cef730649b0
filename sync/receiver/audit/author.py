"""Author of an action: a user at a terminal, or a caller over HTTP."""

import os
import pwd
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sync.runtime.printable import printable

_MAX_TEXT = 200
_LOGIN_UID = Path("/proc/self/loginuid")
_NO_LOGIN_UID = "4294967295"


@dataclass(frozen=True, slots=True)
class Author:
    """User and origin of an action, both printable and of bounded length.

    Over HTTP: the user named by the proxy, or how access was granted; and the peer's address.
    """

    user: str
    origin: str

    def __post_init__(self) -> None:
        """Escape and truncate: both may come from a request."""
        for name in ("user", "origin"):
            object.__setattr__(self, name, printable(getattr(self, name), _MAX_TEXT))


def author_of_command(
    environ: Mapping[str, str],
    *,
    host: Callable[[], str] = socket.gethostname,
    login_uid_file: Path = _LOGIN_UID,
) -> Author:
    """Return the operating system's user, with terminal, SSH client and host.

    After `sudo` or `su` the login user is named too. The kernel keeps the login user; the
    environment variables of sudo and SSH can be set by the caller.
    """
    user = _user_name(os.getuid())
    login = _login_user(login_uid_file) or environ.get("SUDO_USER", "")
    if login and login != user:
        user = f"{user} (login {login})"
    client = environ.get("SSH_CONNECTION", "").partition(" ")[0]
    parts = [f"ssh {client}" if client else "", _terminal(), f"host {host()}"]
    return Author(user, ", ".join(part for part in parts if part))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _login_user(file: Path) -> str:
    try:
        uid = file.read_text("ascii").strip()
    except (OSError, UnicodeError):
        return ""
    return "" if uid == _NO_LOGIN_UID or not uid.isdigit() else _user_name(int(uid))


def _terminal() -> str:
    """Return the terminal of the first standard stream that has one."""
    for stream in range(3):
        with suppress(OSError):
            return os.ttyname(stream)
    return "no terminal"

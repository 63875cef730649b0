"""Ignores SIGHUP while a process starts: it reloads a service, and must never end one.

Only the command line tells a service from another command, and the imports to read it take most of
a start. So SIGHUP is ignored before them, and restored for other commands.
"""

import signal

_before: "signal._HANDLER" = signal.SIG_DFL
_is_ignored = False


def ignore_hangup() -> None:
    """Ignore SIGHUP until `restore_hangup`. Idempotent."""
    global _before, _is_ignored  # noqa: PLW0603 - the process has one handler
    if not _is_ignored:
        _before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _is_ignored = True


def restore_hangup() -> None:
    """Let SIGHUP do what it did before `ignore_hangup`: for a command, end the process."""
    global _is_ignored  # noqa: PLW0603 - see above
    if _is_ignored:
        signal.signal(signal.SIGHUP, _before)
        _is_ignored = False

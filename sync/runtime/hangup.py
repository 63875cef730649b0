"""SIGHUP from the first moment of a process: it reloads a service, and never ends one.

Whether the command is a service is known once the command line is read. The imports for that take
most of a start, so SIGHUP is ignored before them.
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

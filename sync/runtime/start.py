"""Starts a service: with its configuration, or else with the last one that worked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sync.runtime.settings.fallback import AccessPaths, Fallback
from sync.runtime.settings.last_working import LastWorking
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError

Tree = TypeVar("Tree", bound=SettingsTree)
_WRONG_CONFIGURATION = 2
# A rejected configuration is checked this often: a missing file may have returned.
RECHECK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A configuration with which the service did not start, and the one in use instead."""

    reason: str
    in_use: Fallback[Any]


@dataclass(slots=True)
class Start:
    """One attempt to start: `running` is called once the service runs, else `reason` is set.

    `rejected`: the present configuration, if the one of this attempt is an older one;
    `is_right_again` returns whether it would work by now, and `is_to_restart` is set once the
    service stops to start with it.
    """

    rejected: Rejected | None = None
    is_right_again: Callable[[], bool] | None = None
    is_to_restart: bool = False
    reason: str = ""
    has_run: bool = False
    _save: Callable[[], None] = field(default=lambda: None)

    def running(self) -> None:
        """Note that the service runs; its configuration is stored as one that works."""
        self.has_run = True
        self._save()


class NotStartedError(Exception):
    """A service started neither with the present configuration nor with the last working one.

    `reason` is one line, the text of the exception a message for a person; `code` the exit code.
    """

    def __init__(self, message: str, reason: str, code: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code


def start_or_fall_back(
    configuration: LastWorking[Tree],
    run: Callable[[Tree, Start], int],
    may_fall_back: Callable[[Tree | None, Tree], bool],
    access: AccessPaths,
    find_errors: Callable[[Tree, int], Iterable[SettingError]],
) -> int:
    """Run the service with the present configuration, else with the last one that worked.

    `run` returns the exit code. `may_fall_back` returns whether the last settings name the state
    that is meant; it is given the present settings, with defaults for wrong ones (None: they cannot
    be read), and the last ones. `find_errors` yields the errors of a start for a user.
    The last settings never give more access than the present ones, as far as these can be read.
    Raises `NotStartedError`.
    """
    code, failure = _attempt(configuration.settings, run, Start(_save=configuration.save))
    if failure is None:
        return code
    last = configuration.recall(access)
    if last is None or not may_fall_back(configuration.valid_part(), last.settings):
        raise failure
    fallback = Start(Rejected(failure.reason, last))
    if configuration.is_wrong(find_errors):
        fallback.is_right_again = lambda: not configuration.is_wrong(find_errors)
    code, again = _attempt(lambda: last.settings, run, fallback)
    if again is not None:
        raise failure
    return code


def _attempt(
    load: Callable[[], Tree], run: Callable[[Tree, Start], int], start: Start
) -> tuple[int, NotStartedError | None]:
    try:
        code = run(load(), start)
    except ConfigurationError as error:
        reason = "; ".join(str(one) for one in error.errors)
        return _WRONG_CONFIGURATION, NotStartedError(str(error), reason, _WRONG_CONFIGURATION)
    if start.has_run or code == 0:
        return code, None
    return code, NotStartedError("", start.reason, code)

"""`loyalty-hq serve`: receive captures until SIGTERM or SIGINT."""

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial

from sync.receiver.cli.hq import HEAD_OFFICE
from sync.receiver.config import ACCESS, ReceiverSettings
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.discovery import Configuration
from sync.runtime.logging import configure_logging, log_event, log_uncaught_exceptions
from sync.runtime.settings.last_working import LastWorking
from sync.runtime.settings.near_misses import find_near_misses
from sync.runtime.settings.secret_files import check_files
from sync.runtime.settings.setting_errors import SettingError
from sync.runtime.start import NotStartedError, Start, start_or_fall_back

_log = logging.getLogger(__name__)


def serve(config: ConfigFile = None) -> None:
    """Receive captures until SIGTERM or SIGINT.

    As a service of systemd: if it does not start with this configuration, it starts with the last
    one that worked, and logs that.
    """
    found = HEAD_OFFICE.service_configuration(config)
    directories = os.environ.get("STATE_DIRECTORY")
    configuration = LastWorking(ReceiverSettings, found.file, found.environ, directories)
    try:
        raise SystemExit(
            start_or_fall_back(
                configuration, partial(_receive, found), _may_fall_back, ACCESS, _find_start_errors
            )
        )
    except NotStartedError as error:
        if str(error):
            HEAD_OFFICE.warn(str(error))
        raise SystemExit(error.code) from None


def _may_fall_back(present: ReceiverSettings | None, last: ReceiverSettings) -> bool:
    """Return whether the ledger stays one: agents keep their events while it is away."""
    is_same = present is None or present.database_name == last.database_name
    return is_same and HEAD_OFFICE.state_of(last).exists


def _find_start_errors(settings: ReceiverSettings, uid: int) -> Iterable[SettingError]:
    from sync.receiver.doctor.start_errors import find_start_errors  # noqa: PLC0415 - rarely needed

    return find_start_errors(settings, uid)


def _receive(found: Configuration, settings: ReceiverSettings, start: Start) -> int:
    from sync.receiver.service import run_receiver  # noqa: PLC0415 - loads the whole receiver

    # Imported modules are never garbage: looking through them again and again costs a tenth of a
    # batch.
    gc.freeze()
    check_files(settings)
    configure_logging(settings.log.level, settings.log.format)
    log_uncaught_exceptions()
    place = settings.database_name
    log_event(_log, logging.INFO, "hq.starting", configuration=str(found), state=place)
    for near in find_near_misses(ReceiverSettings, found.environ):
        log_event(_log, logging.WARNING, "settings.variable_ignored", reason=str(near))
    return run_receiver(settings, _link_printer(), start)


def _link_printer() -> Callable[[str], None] | None:
    """Return the function that prints the sign-in link; None without a terminal.

    Never prints into a file or a journal: every reader of it could sign in.
    """
    for stream, is_error in ((sys.stderr, True), (sys.stdout, False)):
        if stream is not None and stream.isatty():
            return partial(_print_link, is_error=is_error)
    return None


def _print_link(url: str, *, is_error: bool) -> None:
    from sync.receiver.auth.sign_in_link import LIFETIME_SECONDS  # noqa: PLC0415 - as for `serve`
    from sync.runtime.cli.printing import echo  # noqa: PLC0415 - slow to import

    minutes = int(LIFETIME_SECONDS // 60)
    echo(
        f"Sign in to the pages with this link, once, within {minutes} minutes:\n  {url}",
        err=is_error,
    )

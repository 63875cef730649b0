"""`loyalty-agent run` and `check-config`: start the agent, or only check its configuration."""

import gc
import logging
import os
from collections.abc import Iterable

from agent.cli.client import AGENT
from agent.config import ACCESS, SettingError, Settings
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.discovery import Configuration
from sync.runtime.logging import configure_logging, log_event, log_uncaught_exceptions
from sync.runtime.settings.last_working import LastWorking
from sync.runtime.settings.near_misses import find_near_misses
from sync.runtime.start import NotStartedError, Start, start_or_fall_back
from sync.runtime.systemd.sockets import UnusableSocketError, inherited_sockets

_log = logging.getLogger(__name__)
# systemd holds the tills' sockets: they are answered for this long before the next attempt.
_REFUSING_SECONDS = 10.0
# As in `agent.store.db.connect`, which is slow to import.
_DATABASE = "agent.db"


def run(config: ConfigFile = None) -> None:
    """Serve the tills until SIGTERM or SIGINT.

    As a service of systemd: if it does not start with this configuration, it starts with the last
    one that worked, and logs that.
    """
    raise SystemExit(_serve(AGENT.service_configuration(config)))


def _serve(found: Configuration) -> int:
    try:
        sockets = inherited_sockets(os.environ, os.getpid())
    except UnusableSocketError as error:
        AGENT.fail(str(error))

    def attempt(settings: Settings, start: Start) -> int:
        configure_logging(settings.log.level, settings.log.format)
        log_uncaught_exceptions()
        place = str(settings.storage.directory)
        log_event(_log, logging.INFO, "agent.starting", configuration=str(found), state=place)
        for near in find_near_misses(Settings, found.environ):
            log_event(_log, logging.WARNING, "settings.variable_ignored", reason=str(near))
        # Imported modules are never garbage; collecting during the import costs 10 % of the start.
        gc.disable()
        from agent.service import run_agent  # noqa: PLC0415 - loads the whole agent

        gc.freeze()
        gc.enable()
        return run_agent(settings, start, sockets)

    directories = os.environ.get("STATE_DIRECTORY")
    configuration = LastWorking(Settings, found.file, found.environ, directories)
    try:
        return start_or_fall_back(
            configuration, attempt, _may_fall_back, ACCESS, _find_start_errors
        )
    except NotStartedError as error:
        if str(error):
            AGENT.warn(str(error))
        if sockets and os.environ.get("NOTIFY_SOCKET"):
            from agent.api.out_of_service import refuse_requests  # noqa: PLC0415 - rarely needed

            refuse_requests(sockets, _REFUSING_SECONDS, error.reason)
        return error.code


def _find_start_errors(settings: Settings, uid: int) -> Iterable[SettingError]:
    from agent.doctor.start import find_start_errors  # noqa: PLC0415 - rarely needed

    return find_start_errors(settings, uid)


def _may_fall_back(_: Settings | None, last: Settings) -> bool:
    """Return whether captures are there, and their key.

    A database that was moved away must not begin again, nor may a new key take the place of one
    that was moved away: it does not decrypt the addresses that wait.
    """
    key = last.storage.encryption_key_file
    return (last.storage.directory / _DATABASE).exists() and (key is None or key.exists())


def check_config(config: ConfigFile = None) -> None:
    """Check the configuration and all that it names.

    Finds everything that `run` would refuse, in one pass: settings, variables, files, directories,
    the port. Then prints the settings that differ from their defaults. Nothing is changed. The
    exit code is 2 if `run` or `export` would not work; a warning does not change it.
    """
    # `run` needs neither.
    from agent.doctor.start import (  # noqa: PLC0415 - slow to import
        find_errors,
        find_start_warnings,
    )
    from sync.runtime.cli.check_config import check_configuration  # noqa: PLC0415 - slow to import

    check_configuration(AGENT, config, find_errors, find_start_warnings)

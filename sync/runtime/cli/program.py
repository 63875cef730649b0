"""A program's commands: finding and loading settings, exit codes, error messages."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

import typer

from sync.runtime.cli.discovery import (
    Configuration,
    Origin,
    ServiceProcess,
    find_installed,
    find_running,
    given_configuration,
    is_installed,
    own_configuration,
)
from sync.runtime.settings.fallback import AccessPaths
from sync.runtime.settings.last_working import LastWorking
from sync.runtime.settings.load import load
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.secret_files import check_named_files
from sync.runtime.settings.setting_errors import ConfigurationError

SettingsT = TypeVar("SettingsT", bound=SettingsTree)


class ExitCode(IntEnum):
    """Exit codes of all commands.

    `USAGE` is wrong usage or a wrong configuration, `WARNING` is for `doctor`: nothing is broken.
    """

    OK = 0
    PROBLEM = 1
    USAGE = 2
    WARNING = 3


@dataclass(frozen=True, slots=True)
class State:
    """The state that settings name: its place for messages, and whether there is any."""

    place: str
    exists: bool


@dataclass(frozen=True, slots=True)
class InUse(Generic[SettingsT]):
    """The settings that the service runs with; `wrong`: those of the file, which it did not take.

    `since`: when the ones in use were found to work; empty if they are those of the file.
    """

    settings: SettingsT
    wrong: ConfigurationError | None = None
    since: str = ""


@dataclass(frozen=True, slots=True)
class Program(Generic[SettingsT]):
    """Name, service and settings of a program, shared by its commands."""

    name: str
    service: ServiceProcess
    model: type[SettingsT]
    listens_on: Callable[[SettingsT], tuple[str, int]]
    state_of: Callable[[SettingsT], State]
    access: AccessPaths

    def client_settings(self, config: Path | None) -> SettingsT:
        """Load the settings of a command that asks the running service, or exit with code 2.

        Beside a wrong file these are the last that worked: the service runs with them. Prints on
        standard error which configuration it uses, and where it asks.
        """
        found, in_use = self._find_in_use(config)
        host, port = self.listens_on(in_use.settings)
        self._say(f"Configuration: {found}; service: {host} port {port}")
        return in_use.settings

    def settings(self, config: Path | None, *, new: bool = False) -> SettingsT:
        """Load the settings of a command that reads or creates the state, or exit with code 2.

        Prints on standard error which configuration and state it uses.
        Without `new`, state that does not exist must be named by `--config` or a variable: else
        the command would answer for an empty state beside the one that is meant.
        """
        found, settings = self._find(config)
        self._require_state(found, settings, new=new)
        return settings

    def settings_in_use(self, config: Path | None, *, new: bool = False) -> InUse[SettingsT]:
        """Load the settings that the service runs with, as `settings` does."""
        found, in_use = self._find_in_use(config)
        self._require_state(found, in_use.settings, new=new)
        return in_use

    def _require_state(self, found: Configuration, settings: SettingsT, *, new: bool) -> None:
        if not (new or found.names_state or self.state_of(settings).exists):
            self.refuse(self._no_state(found, settings))
        self.announce(found, settings)

    def configuration(self, config: Path | None) -> tuple[Configuration, SettingsT]:
        """Return the configuration that the service itself uses, and its settings, or exit."""
        found = self.service_configuration(config)
        try:
            return found, load(self.model, found.file, found.environ)
        except ConfigurationError as error:
            self.refuse("\n".join(filter(None, [str(error), self._in_use(found)])))

    def find(self, config: Path | None) -> Configuration:
        """Return the configuration that the service itself uses. Raises `ConfigurationError`."""
        if config is not None:
            return given_configuration(self.name, config, os.environ)
        installed = find_installed(self.name, os.environ)
        return installed or own_configuration(self.name, os.environ)

    def service_configuration(self, config: Path | None) -> Configuration:
        """Return the configuration that the service itself uses, not loaded, or exit."""
        with self.exit_on_configuration_error():
            return self.find(config)

    @contextmanager
    def exit_on_configuration_error(self) -> Iterator[None]:
        """Turn a `ConfigurationError` into a message on standard error and exit code 2."""
        try:
            yield
        except ConfigurationError as error:
            self.refuse(str(error))

    def fail(self, message: str, code: ExitCode = ExitCode.PROBLEM) -> NoReturn:
        """Print `message` on standard error and exit."""
        self.warn(message)
        raise typer.Exit(code)

    def refuse(self, message: str) -> NoReturn:
        """Print `message` on standard error and exit with code 2: wrong usage or configuration."""
        self.fail(message, ExitCode.USAGE)

    def warn(self, message: str) -> None:
        """Print `message` on standard error; do not wait for a reader, as a service must not."""
        # Imported here: a service that starts need not wait for it.
        from sync.runtime.cli.printing import echo_unread  # noqa: PLC0415 - see above

        echo_unread(self._warning(message))

    def _warning(self, message: str) -> str:
        from sync.runtime.cli.translation import in_language  # noqa: PLC0415 - as in `warn`

        return f"{self.name}: {in_language(message, err=True)}"

    def _find(self, config: Path | None) -> tuple[Configuration, SettingsT]:
        found, settings = self.configuration(config)
        if found.origin is not Origin.OWN or found.names_state:
            return found, settings
        with self.exit_on_configuration_error():
            running = find_running(self.service, self.listens_on(settings), os.environ)
            if running is None:
                return found, settings
            return running, load(self.model, running.file, running.environ)

    def _find_in_use(self, config: Path | None) -> tuple[Configuration, InUse[SettingsT]]:
        found = self.service_configuration(config)
        if found.file is not None and is_installed(self.name, found.file):
            try:
                check_named_files(load(self.model, found.file, found.environ))
            except ConfigurationError as error:
                if in_use := self._last_working(found, error):
                    used = (
                        "This command uses the last configuration that worked, that of"
                        f" {in_use.since}"
                    )
                    self.warn(f"{error}\n{self._in_use(found) or used}")
                    return found, in_use
        found, settings = self._find(config)
        return found, InUse(settings)

    def _last_working(
        self, found: Configuration, wrong: ConfigurationError
    ) -> InUse[SettingsT] | None:
        """Return the fall-back settings that the service runs with; None if it has none."""
        directory = found.environ.get("STATE_DIRECTORY")
        configuration = LastWorking(self.model, found.file, found.environ, directory)
        with suppress(ConfigurationError):
            configuration.settings()
        last = configuration.recall(self.access)
        return InUse(last.settings, wrong, last.since) if last else None

    def announce(self, found: Configuration, settings: SettingsT | None) -> None:
        """Print on standard error which configuration and state a command uses."""
        state = f"; state: {self.state_of(settings).place}" if settings is not None else ""
        self._say(f"Configuration: {found}{state}")

    def _say(self, line: str) -> None:
        from sync.runtime.cli.printing import say  # noqa: PLC0415 - as in `warn`

        say(line, err=True)  # standard output is for programs

    def _in_use(self, found: Configuration) -> str:
        """Return the message that the installed service runs on an earlier configuration, if so."""
        if found.file is None or not is_installed(self.name, found.file):
            return ""
        # Imported here: needed in this case only.
        from sync.runtime.checks import units  # noqa: PLC0415 - see above

        return units.earlier_configuration(self.name, units.run_command, units.BOOTED)

    def _no_state(self, found: Configuration, settings: SettingsT) -> str:
        where = "no service is installed or running here"
        start = f"start it with: {self.name} {self.service.command}"
        if found.origin is Origin.INSTALLED:
            where = f"the installed service ({found}) has not run yet"
            start = f"start it with: systemctl enable --now {self.name}"
        return (
            f"there is no state in {self.state_of(settings).place}, and {where}. Name the"
            f" configuration with --config FILE; or {start}; or use --new for a new state there."
            " Nothing was changed"
        )

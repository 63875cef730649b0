"""A program's commands: loading settings, exit codes, error messages."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

import typer

from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.setting_errors import ConfigurationError

SettingsT = TypeVar("SettingsT", bound=SettingsTree)


class ExitCode(IntEnum):
    """Exit codes of all commands; `USAGE` is wrong usage or a wrong configuration."""

    OK = 0
    PROBLEM = 1
    USAGE = 2


@dataclass(frozen=True, slots=True)
class Program(Generic[SettingsT]):
    """Name and settings loader of a program, shared by its commands."""

    name: str
    load_settings: Callable[[Path | None, Mapping[str, str]], SettingsT]

    def settings(self, config: Path | None) -> SettingsT:
        """Load the settings from `config` and the environment, or exit with code 2."""
        with self.exit_on_configuration_error():
            return self.load_settings(config, os.environ)

    @contextmanager
    def exit_on_configuration_error(self) -> Iterator[None]:
        """Turn a `ConfigurationError` into a message on standard error and exit code 2."""
        try:
            yield
        except ConfigurationError as error:
            self.fail(str(error), ExitCode.USAGE)

    def fail(self, message: str, code: ExitCode = ExitCode.PROBLEM) -> NoReturn:
        """Print `message` on standard error and exit."""
        self.warn(message)
        raise typer.Exit(code)

    def warn(self, message: str) -> None:
        """Print `message` on standard error."""
        # Imported here: a service that starts need not wait for it.
        from sync.runtime.cli.printing import echo  # noqa: PLC0415 - see above

        echo(f"{self.name}: {message}", err=True)

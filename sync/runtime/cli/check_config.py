"""`check-config` of both programs: all that the service would refuse, in one pass."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from sync.runtime.checks.directories import owner_or_self
from sync.runtime.checks.named_files import find_errors_of_service
from sync.runtime.cli.discovery import installed_file
from sync.runtime.cli.printing import label, print_values, say
from sync.runtime.cli.program import Program
from sync.runtime.settings.load import changed_settings, examine
from sync.runtime.settings.near_misses import find_near_misses
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.secret_files import find_file_errors
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError

Tree = TypeVar("Tree", bound=SettingsTree)
# Takes the settings and the user of the service.
FindErrors = Callable[[Tree, int], Iterable[SettingError]]
FindWarnings = Callable[[Tree], Iterable[str]]


def check_configuration(
    program: Program[Tree],
    config: Path | None,
    find_errors: FindErrors[Tree],
    find_warnings: FindWarnings[Tree],
) -> None:
    """Print all errors and exit with code 2, else the settings that differ from the defaults."""
    with program.exit_on_configuration_error():
        found = program.find(config)
        settings, errors = examine(program.model, found.file, found.environ)
        if settings is not None:
            named = {error.setting for error in errors}
            directory = settings.storage_directory
            uid = os.geteuid()
            others = find_file_errors(settings)
            if found.file == installed_file(program.name):
                uid = owner_or_self(directory)
                unreadable = {error.setting for error in others}
                for_service = find_errors_of_service(settings, found.environ)
                others += [error for error in for_service if error.setting not in unreadable]
            others += find_errors(settings, uid)
            errors += [error for error in others if error.setting not in named]
        program.announce(found, settings)
        for near in find_near_misses(program.model, found.environ):
            program.warn(f"warning: {near}")
        if errors or settings is None:
            raise ConfigurationError(dict.fromkeys(errors))
    for warning in find_warnings(settings):
        program.warn(f"warning: {warning}")
    source = found.file or "no file, only defaults and environment"
    say(f"The configuration is valid: {source}.")
    title = label("Settings that differ from the default")
    print_values(title, changed_settings(settings, found.environ))

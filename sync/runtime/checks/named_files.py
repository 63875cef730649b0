"""Checks that the user of the service can read the files that the settings name."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sync.runtime.checks.check import CONFIGURATION, Check, fault, passed
from sync.runtime.files.ownership import acting_as_service, service_user
from sync.runtime.settings.paths import credentials_directory
from sync.runtime.settings.schema import SettingsTree
from sync.runtime.settings.secret_files import find_file_errors
from sync.runtime.settings.setting_errors import SettingError


def check_named_files(settings: SettingsTree, others: Sequence[SettingError] = ()) -> Check:
    """Check the files that the settings name; `others` are further errors of the settings."""
    errors = [*find_file_errors(settings), *others]
    named = {error.setting for error in errors}
    of_service = find_errors_of_service(settings, os.environ)
    errors += [error for error in of_service if error.setting not in named]
    if errors:
        advice = "fix the files or settings, and make the files readable for the service's user"
        return fault(CONFIGURATION, "; ".join(map(str, errors)), advice)
    if os.geteuid():
        return passed(CONFIGURATION, "all settings are valid and all files are readable")
    user = service_user(settings.storage_directory, settings.program_name)
    reader = f"the service's user {user}" if user else "root"
    found = f"all settings are valid and all files are readable by {reader}"
    return passed(CONFIGURATION, found)


def find_errors_of_service(
    settings: SettingsTree, environ: Mapping[str, str]
) -> Iterator[SettingError]:
    """Yield the files that root can read and the user of the service cannot.

    Not those in its credentials: systemd reads them as root.
    """
    program = settings.program_name
    with acting_as_service(settings.storage_directory, program):
        errors = find_file_errors(settings)
    credentials = credentials_directory(program, environ)
    for error in errors:
        if Path(error.place).parent != credentials:
            message = f"{error.message} by the user of the service"
            yield SettingError(error.place, error.setting, message)

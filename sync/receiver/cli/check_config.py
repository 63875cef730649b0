"""`loyalty-hq check-config`: check the configuration without serving."""

from sync.receiver.cli.hq import HEAD_OFFICE
from sync.receiver.doctor.start_errors import find_start_errors, find_start_warnings
from sync.runtime.cli.check_config import check_configuration
from sync.runtime.cli.command_group import ConfigFile


def check_config(config: ConfigFile = None) -> None:
    """Check the configuration and all that it names.

    Finds everything that `serve` would refuse, in one pass: settings, variables, files,
    directories, the port; for the database see doctor. Then prints the settings that differ from
    their defaults. Nothing is changed. The exit code is 2 if `serve` would not work; a warning
    does not change it.
    """
    check_configuration(HEAD_OFFICE, config, find_start_errors, find_start_warnings)

"""`loyalty-agent run` and `check-config`: start the agent, or only check its configuration."""

import gc
import logging

from agent.cli.client import AGENT
from agent.config import changed_settings, check_files
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.logging import configure_logging, log_event, log_uncaught_exceptions

_log = logging.getLogger(__name__)


def run(config: ConfigFile = None) -> None:
    """Serve the tills until SIGTERM or SIGINT."""
    found, settings = AGENT.configuration(config)
    configure_logging(settings.log.level, settings.log.format)
    log_uncaught_exceptions()
    place = str(settings.storage.directory)
    log_event(_log, logging.INFO, "agent.starting", configuration=str(found), state=place)
    # Imported modules are never garbage; collecting during the import costs 10 % of the start.
    gc.disable()
    from agent.service import run_agent  # noqa: PLC0415 - loads the whole agent

    gc.freeze()
    gc.enable()
    with AGENT.exit_on_configuration_error():
        raise SystemExit(run_agent(settings))


def check_config(config: ConfigFile = None) -> None:
    """Check the configuration and the files that it names.

    Then print the settings that differ from their defaults. Nothing is changed.
    """
    found, settings = AGENT.configuration(config)
    from sync.runtime.cli.printing import echo, print_values  # noqa: PLC0415 - not needed by `run`

    with AGENT.exit_on_configuration_error():
        check_files(settings)
    source = found.file or "no file, only defaults and environment"
    echo(f"The configuration is valid: {source}.")
    print_values("Settings that differ from the default", changed_settings(settings, found.environ))

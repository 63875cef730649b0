"""`loyalty-agent run` and `check-config`: start the agent, or only check its configuration."""

import gc
import os

from agent.cli.client import AGENT
from agent.config import changed_settings, check_files
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.logging import configure_logging, log_uncaught_exceptions


def run(config: ConfigFile = None) -> None:
    """Serve the tills until SIGTERM or SIGINT."""
    settings = AGENT.settings(config)
    configure_logging(settings.log.level, settings.log.format)
    log_uncaught_exceptions()
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
    settings = AGENT.settings(config)
    from sync.runtime.cli.printing import echo, print_values  # noqa: PLC0415 - not needed by `run`

    with AGENT.exit_on_configuration_error():
        check_files(settings)
    source = config or "no file, only defaults and environment"
    echo(f"The configuration is valid: {source}.")
    print_values("Settings that differ from the default", changed_settings(settings, os.environ))

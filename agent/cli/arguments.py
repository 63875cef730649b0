"""Shared by all commands: the `--config` option, exit codes and error handling."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent.config import Settings

NAME = "loyalty-agent"


class ExitCode(IntEnum):
    """Exit codes of the agent's commands."""

    FINE = 0
    TROUBLE = 1
    WRONG_USE = 2


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The configuration file (TOML)."),
]


def settings_of(context: typer.Context, config: Path | None) -> "Settings":
    """Load the settings; `--config` is accepted before and after the command name."""
    from agent.config import load_settings  # noqa: PLC0415 - keeps --help quick

    with wrong_configuration_ends_it():
        return load_settings(config or context.obj, os.environ)


@contextmanager
def wrong_configuration_ends_it() -> Iterator[None]:
    """Turn a `ConfigurationError` into a message on standard error and exit code 2."""
    from agent.config import ConfigurationError  # noqa: PLC0415 - keeps --help quick

    try:
        yield
    except ConfigurationError as error:
        typer.echo(f"{NAME}: {error}", err=True)
        raise typer.Exit(ExitCode.WRONG_USE) from None


@contextmanager
def unreached_agent_ends_it() -> Iterator[None]:
    """Turn an unreachable agent or a rejected request into a message and exit code 1."""
    from agent.cli.client import (  # noqa: PLC0415 - as above
        AgentNotReachedError,
        RequestRefusedError,
    )

    try:
        with wrong_configuration_ends_it():
            yield
    except (AgentNotReachedError, RequestRefusedError) as trouble:
        typer.echo(f"{NAME}: {trouble}", err=True)
        raise typer.Exit(ExitCode.TROUBLE) from None

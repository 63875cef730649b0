"""The `loyalty-agent` command line: arguments, output and exit codes."""

from collections.abc import Sequence
from pathlib import Path

from sync.runtime.cli.command_group import LazyCommand, command_group
from sync.runtime.standard_streams import open_closed_streams

_NAME = "loyalty-agent"
_LANGUAGES = Path(__file__).parents[1] / "languages"
COMMANDS = {
    "run": LazyCommand(
        "agent.cli.service_commands", "Serve the tills until SIGTERM or SIGINT.", is_service=True
    ),
    "check-config": LazyCommand(
        "agent.cli.service_commands", "Check the configuration and all that it names."
    ),
    "join": LazyCommand(
        "agent.cli.join.command", "Join head office with the code that it printed."
    ),
    "status": LazyCommand("agent.cli.status", "Show the status of the agent."),
    "doctor": LazyCommand("agent.cli.doctor", "Check this machine and advise how to fix faults."),
    "drill": LazyCommand("agent.cli.drill", "Run a failure drill and verify the result."),
    "sandbox": LazyCommand("agent.cli.sandbox", "Serve an agent that misbehaves on request."),
    "certify": LazyCommand("agent.cli.certify", "Judge a till's manners in twelve situations."),
    "support-bundle": LazyCommand(
        "agent.cli.support_bundle", "Write an archive with diagnostics for support."
    ),
    "sync": LazyCommand("agent.cli.sync", "Deliver pending captures now."),
    "backup": LazyCommand("agent.cli.backup", "Copy the database into one file."),
    "rotate-key": LazyCommand("agent.cli.rotate_key", "Replace the encryption key by a new one."),
    "export": LazyCommand(
        "agent.cli.export.command", "Write what is undelivered to a file to carry by hand."
    ),
    "salvage": LazyCommand("agent.cli.salvage", "Salvage the captures of a database file."),
    "dead-letters": LazyCommand("agent.cli.dead_letters", "List, retry and discard dead letters."),
}


def _answer_wrong_usage(message: str, words: Sequence[str]) -> None:
    """Answer a monitoring system, to which the usual exit code 2 would mean CRITICAL."""
    if "status" in words:
        from agent.cli.status.check import answer_wrong_usage  # noqa: PLC0415 - slow to import

        answer_wrong_usage(message, words)


app = command_group(
    _NAME,
    "Accept loyalty captures from tills, online or offline.",
    COMMANDS,
    _answer_wrong_usage,
    languages=(_LANGUAGES, _LANGUAGES / "commands"),
)


def main() -> None:
    """Run the command from the command line and exit the process with its exit code."""
    open_closed_streams()
    app(prog_name=_NAME)

"""The `loyalty-hq` command line: arguments, output and exit codes."""

from pathlib import Path

from sync.runtime.cli.command_group import LazyCommand, command_group
from sync.runtime.standard_streams import open_closed_streams

_NAME = "loyalty-hq"
_DIRECTORY = Path(__file__).parent
COMMANDS = {
    "serve": LazyCommand(
        "sync.receiver.cli.serve", "Receive captures until SIGTERM or SIGINT.", is_service=True
    ),
    "check-config": LazyCommand(
        "sync.receiver.cli.check_config", "Check the configuration and all that it names."
    ),
    "doctor": LazyCommand(
        "sync.receiver.cli.doctor", "Check head office and advise how to fix faults."
    ),
    "enroll": LazyCommand(
        "sync.receiver.cli.enroll", "Issue a new token for the agent on a POS machine."
    ),
    "revoke": LazyCommand(
        "sync.receiver.cli.revoke", "Revoke all tokens of a till and its join code."
    ),
    "retire": LazyCommand(
        "sync.receiver.cli.retire", "Take a till, or all tills of a store, out of service."
    ),
    "keys": LazyCommand(
        "sync.receiver.cli.carried.keys", "Print head office's public key, for exports of agents."
    ),
    "import": LazyCommand(
        "sync.receiver.cli.carried.import_bundle",
        "Take the captures of a file that an agent exported.",
        function="import_bundle",
    ),
    "stores": LazyCommand("sync.receiver.cli.reporting.stores", "List all known tills."),
    "completeness": LazyCommand(
        "sync.receiver.cli.reporting.completeness", "Report missing captures by sequence number."
    ),
    "find": LazyCommand(
        "sync.receiver.cli.reporting.find",
        "Find events by id, number, receipt, or store and time.",
    ),
    "gaps": LazyCommand(
        "sync.receiver.cli.gaps", "List permanently lost events, and acknowledge the loss."
    ),
    "epochs": LazyCommand("sync.receiver.cli.epochs", "List and acknowledge unconfirmed epochs."),
    "forget": LazyCommand("sync.receiver.cli.forget", "Erase an e-mail address from every table."),
    "export": LazyCommand(
        "sync.receiver.cli.reporting.export", "Export a table as CSV, JSON lines or Parquet."
    ),
    "backup": LazyCommand("sync.receiver.cli.backup", "Copy the SQLite database into one file."),
    "audit": LazyCommand(
        "sync.receiver.cli.reporting.audit", "List what people did at head office."
    ),
}
app = command_group(
    _NAME,
    "Receive the captures of all stores at head office.",
    COMMANDS,
    languages=(_DIRECTORY.parent / "pages" / "messages", _DIRECTORY / "languages"),
)


def main() -> None:
    """Run the command from the command line and exit the process with its exit code."""
    open_closed_streams()
    app(prog_name=_NAME)

"""The `loyalty-hq` command line: arguments, output and exit codes."""

from sync.runtime.cli.command_group import LazyCommand, command_group

_NAME = "loyalty-hq"
COMMANDS = {
    "serve": LazyCommand("sync.receiver.cli.hq", "Receive captures until SIGTERM or SIGINT."),
    "enroll": LazyCommand(
        "sync.receiver.cli.enroll", "Issue a new token for the agent on a POS machine."
    ),
    "stores": LazyCommand("sync.receiver.cli.stores", "List all known tills."),
    "completeness": LazyCommand(
        "sync.receiver.cli.completeness", "Report missing captures by sequence number."
    ),
    "forget": LazyCommand("sync.receiver.cli.forget", "Erase an e-mail address from every table."),
    "export": LazyCommand(
        "sync.receiver.cli.export", "Export a table as CSV, JSON lines or Parquet."
    ),
}
app = command_group(_NAME, "Receive the captures of all stores at head office.", COMMANDS)


def main() -> None:
    """Run the command from the command line and exit the process with its exit code."""
    app(prog_name=_NAME)

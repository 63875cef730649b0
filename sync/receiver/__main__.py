"""Entry point of the receiver: `loyalty-hq`, `python -m sync.receiver`."""

from sync.runtime.hangup import ignore_hangup


def main() -> None:
    """Run the command from the command line and exit the process with its exit code."""
    ignore_hangup()
    from sync.receiver.cli import main as run_command  # noqa: PLC0415 - takes most of a start

    run_command()


if __name__ == "__main__":
    main()

"""Recent lines of the agent's log from journald."""

from agent.doctor.systemd_units import Run

_LINES = 2_000
_LONGEST_BYTES = 2 * 1024 * 1024
_COMMAND = (
    *("journalctl", "--unit=loyalty-agent.service", f"--lines={_LINES}"),
    *("--no-pager", "--quiet", "--no-hostname", "--output=short-iso-precise"),
)


def last_lines(run: Run) -> str:
    """Return the last complete lines, oldest first; empty if there are none."""
    text = run(_COMMAND) or ""
    if len(text) <= _LONGEST_BYTES:
        return text
    # Drop the first line, which may be partial: redaction cannot recognize half an address.
    return text[-_LONGEST_BYTES:].partition("\n")[2]

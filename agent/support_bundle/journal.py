"""The last lines of the agent's log, where journald keeps it."""

from agent.doctor.systemd_units import Run

_LINES = 2_000
_LONGEST_BYTES = 2 * 1024 * 1024
_COMMAND = (
    *("journalctl", "--unit=loyalty-agent.service", f"--lines={_LINES}"),
    *("--no-pager", "--quiet", "--no-hostname", "--output=short-iso-precise"),
)


def last_lines(run: Run) -> str:
    """Return the last lines, oldest first, whole ones only; empty where there are none."""
    text = run(_COMMAND) or ""
    if len(text) <= _LONGEST_BYTES:
        return text
    # The first line may be a part of one, and half an address in it not be known for one.
    return text[-_LONGEST_BYTES:].partition("\n")[2]

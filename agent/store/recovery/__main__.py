"""Extracts the readable rows of a quarantined database; started by the agent, not by hand."""

import contextlib
import os
import sys
import time
from pathlib import Path

from agent.store.recovery.extract import extract

_PRIORITY = 19
_SLEEP_SECONDS = 0.01


def main(place: str, mark_position: str) -> None:
    """Extract what is readable in the directory `place`, at the lowest priority."""
    # A sandbox may forbid either.
    with contextlib.suppress(OSError):
        os.nice(_PRIORITY)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    parent = os.getppid()

    def pause(seconds: float) -> None:
        if os.getppid() != parent:
            # The agent was killed; the next one continues here.
            raise SystemExit(1)
        time.sleep(max(seconds, _SLEEP_SECONDS))

    extract(Path(place), int(mark_position), pause)


if __name__ == "__main__":
    main(*sys.argv[1:])

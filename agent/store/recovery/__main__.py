"""Reads a quarantined database, or erases in it; started by the agent, not by hand."""

import contextlib
import os
import sqlite3
import sys
import time
from pathlib import Path

from agent.store.files.quarantine import SCRATCH_FILE
from agent.store.recovery.erase import ERASE, erase_delivered
from agent.store.recovery.extract import extract

_PRIORITY = 19
_SLEEP_SECONDS = 0.01


def main(place: str, task: str) -> None:
    """Extract the readable rows of the directory `place`, at the lowest priority.

    `task` is the position of the mark, or `ERASE`: erase the addresses of delivered answers.
    """
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

    try:
        if task == ERASE:
            erase_delivered(Path(place), pause)
        else:
            extract(Path(place), int(task), pause)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # no room, or the disk fails
        # The scratch file itself is damaged: begin again.
        (Path(place) / SCRATCH_FILE).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])

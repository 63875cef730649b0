"""Control: an agent with `synchronous=NORMAL`, whose commits are not synced.

Start it instead of the agent with `python -m tests.crash.states.synchronous_normal --config FILE
run`.
"""

from agent.cli import main
from agent.store.db import connect

if __name__ == "__main__":
    unsynced = [one.replace("synchronous=FULL", "synchronous=NORMAL") for one in connect._PRAGMAS]  # noqa: SLF001 - the planted fault needs it
    assert unsynced != list(connect._PRAGMAS)  # noqa: SLF001 - see above
    vars(connect)["_PRAGMAS"] = tuple(unsynced)
    main()

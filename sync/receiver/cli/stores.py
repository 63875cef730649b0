"""`loyalty-hq stores`: list all tills with their state."""

from collections import Counter
from functools import partial

from sync.receiver.cli.hq import HEAD_OFFICE, reference_now, run_on_database
from sync.receiver.reports.tills import list_tills
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import count, echo, one_line

_ROW = "{:<10} {:<10} {:<13} {:<16} {:>7} {:>8}  {}"


def stores(config: ConfigFile = None) -> None:
    """List all known tills.

    One line per till, by store and till. The state is that of the fleet page; times are UTC.
    Waiting and rejected come from the till's last heartbeat.
    """
    settings = HEAD_OFFICE.settings(config)
    work = partial(list_tills, reference=reference_now())
    tills = run_on_database(settings, lambda database: database.read(work))
    echo(_ROW.format("STORE", "TILL", "STATE", "SEEN", "WAITING", "REJECTED", "VERSION"))
    for till in tills:
        seen = f"{till.last_contact_at:%Y-%m-%d %H:%M}" if till.last_contact_at else "never"
        key = (one_line(till.store_id), one_line(till.till_id), till.state.value, seen)
        echo(_ROW.format(*key, till.backlog, till.dead_letters, one_line(till.version)))
    states = Counter(till.state.value for till in tills)
    counts = "".join(f", {number} {state}" for state, number in sorted(states.items()))
    known = f"{count(len(tills), 'till')} in {count(len({t.store_id for t in tills}), 'store')}"
    echo(f"{known}{counts.replace(',', ':', 1)}.")

"""`loyalty-hq stores`: list all tills with their state."""

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import typer

from sync.receiver.cli.arguments import ConfigFile, settings_of, unusable_database_ends_it

if TYPE_CHECKING:
    from sync.receiver.reports.store import Till

_ROW = "{:<10} {:<10} {:<13} {:<16} {:>7} {:>7}  {}"


def stores(context: typer.Context, config: ConfigFile = None) -> None:
    """List all known tills.

    One line per till, by store and till. The state is that of the fleet page; times are UTC.
    Waiting and refused come from the till's last heartbeat.
    """
    settings = settings_of(context, config)
    from sync.receiver.operations import every_till  # noqa: PLC0415 - keeps --help quick

    with unusable_database_ends_it(settings):
        listed = every_till(settings)
    typer.echo(_ROW.format("STORE", "TILL", "STATE", "HEARD", "WAITING", "REFUSED", "VERSION"))
    for store_id, till in listed:
        typer.echo(_line(store_id, till))
    states = Counter(till.state.value for _, till in listed)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    chain = len({store_id for store_id, _ in listed})
    typer.echo(f"Tills: {len(listed)}, stores: {chain}{'; ' if counted else ''}{counted}.")


def _line(store_id: str, till: "Till") -> str:
    key = (store_id, till.till_id, till.state.value)
    return _ROW.format(
        *key, _minute(till.heard_at), till.waiting, till.refused, till.version or "-"
    )


def _minute(at: datetime | None) -> str:
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M}"

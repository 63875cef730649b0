"""`loyalty-hq revoke`: end the tokens of one till, at once and at every receiver."""

from typing import Annotated

import typer

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.hq import HEAD_OFFICE, audit_log, checked_name, run_on_database
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import count, echo


def revoke(
    store_id: Annotated[str, typer.Argument(metavar="STORE", help="The store's name.")],
    till_id: Annotated[str, typer.Argument(metavar="TILL", help="The POS machine's name.")],
    config: ConfigFile = None,
) -> None:
    """Revoke all tokens of a till, at once and at every receiver.

    For a stolen or lost token. The agent keeps its captures and says that it is rejected; enroll
    the till again and give it the new token. Exit code 1 if no token was valid.
    """
    settings = HEAD_OFFICE.settings(config)
    name = AgentName(checked_name("STORE", store_id), checked_name("TILL", till_id))
    audit = audit_log()
    revoked = run_on_database(settings, lambda database: Enrolment(database).revoke(name, audit))
    if not revoked:
        HEAD_OFFICE.fail(f"{store_id}/{till_id} has no valid token: nothing was changed")
    echo(f"Revoked {count(revoked, 'token')} of {store_id}/{till_id}.")

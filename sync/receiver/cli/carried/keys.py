"""`loyalty-hq keys`: print head office's public key; make the key pair at its first use."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import msgspec
import typer
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import Connection

from sync.protocol.bundle.sealing import key_id_of
from sync.receiver.audit.audit_log import Action
from sync.receiver.carried.private_keys import (
    add_private_key,
    private_key_path,
    public_pem,
    read_private_keys,
)
from sync.receiver.cli.hq import HEAD_OFFICE, audit_log, run_on_database
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database
from sync.receiver.reports.audit_trail import AuditFilter, audit_entries
from sync.runtime.cli.command_group import ConfigFile, NewState
from sync.runtime.cli.listing import JsonOption, Listing
from sync.runtime.cli.printing import count, echo, say
from sync.runtime.files.ownership import acting_as_owner


def keys(
    config: ConfigFile = None,
    *,
    new: NewState = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make another key pair; older ones open bundles still.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print head office's public key, for exports of agents.

    Put it into a file on each POS machine, and name that in [central] public_key_file of the
    agent: `loyalty-agent export` seals with it what is carried by hand. The first use makes the key
    pair. Keep the file with the private key: without it no bundle can be read.
    """
    settings = HEAD_OFFICE.settings(config, new=new)
    path = private_key_path(settings)
    recorded = run_on_database(settings, _recorded_ids, create=True)
    with _file_errors(settings):
        pairs = read_private_keys(path)
        if recorded and not pairs and not rotate:
            HEAD_OFFICE.fail(
                f"{path} does not exist, but head office has the key {recorded[-1]}. Copy the file"
                " from the machine that has it, or restore it, or name it in [storage]"
                " private_key_file. Only if it is lost: --rotate makes another key pair"
            )
        if rotate or not pairs:
            add_private_key(path, X25519PrivateKey.generate())
            pairs = read_private_keys(path)
    made = [id_ for id_ in map(_id, reversed(pairs)) if id_ not in recorded]
    if made:
        run_on_database(settings, lambda database: database.write(partial(_record, made=made)))
    _print(pairs, as_json=as_json)


def _print(pairs: Sequence[X25519PrivateKey], *, as_json: bool) -> None:
    if as_json:
        listing = Listing("keys", as_json=True)
        for pair in pairs:
            is_current = pair is pairs[0]
            entry = {"keyId": _id(pair), "publicKey": public_pem(pair), "isCurrent": is_current}
            listing.add(entry)
        listing.end()
        return
    echo(public_pem(pairs[0]).rstrip())
    older = f"; {count(len(pairs) - 1, 'key')} from before can open bundles" if pairs[1:] else ""
    say(f"Key {_id(pairs[0])}{older}.", err=True)


def _id(pair: X25519PrivateKey) -> str:
    return key_id_of(pair.public_key())


@contextmanager
def _file_errors(settings: ReceiverSettings) -> Iterator[None]:
    """Act as the owner of the storage directory if the file is in it; print errors and exit."""
    path = private_key_path(settings)
    directory = settings.storage.directory if settings.storage.private_key_file is None else path
    try:
        with HEAD_OFFICE.exit_on_configuration_error(), acting_as_owner(directory):
            yield
    except OSError as error:
        HEAD_OFFICE.fail(f"cannot use {error.filename or path} ({error.strerror})")


async def _recorded_ids(database: Database) -> list[str]:
    """Return the ids of all keys that head office ever made, the newest last."""
    made = AuditFilter(action=Action.MAKE_KEY, store_id="")
    return [
        msgspec.json.decode(row["detail"])["key"]
        async for page in audit_entries(database, made)
        for row in page
    ]


def _record(connection: Connection, made: Sequence[str]) -> None:
    for key in made:
        audit_log().record(connection, Action.MAKE_KEY, key=key)

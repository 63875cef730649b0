"""`loyalty-agent export`: write what is undelivered to a file, to carry it to head office."""

import os
import time
from pathlib import Path
from typing import Annotated, NoReturn
from uuid import uuid4

import typer

from agent.cli.client import AGENT
from agent.config import Settings, read_secret
from agent.config.central import AuthKind, Protocol
from agent.config.export_key import read_export_key
from agent.export.backlog import Backlog, BacklogError
from agent.export.bundle import Seal, write_bundle
from agent.facts import Timestamp, settings_missing_for_delivery
from sync.delivery.transports.batch.documents import Sender
from sync.protocol.agent_token import hash_token
from sync.protocol.bundle.sealing import CONTENT_KEY_BYTES, key_id_of
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import count, say
from sync.runtime.cli.program import ExitCode
from sync.runtime.cli.progress import countdown
from sync.runtime.files.atomic_file import atomic_file
from sync.runtime.files.scratch_file import remove_abandoned
from sync.runtime.identity import installed_version, read_boot_id

# Behind the agent that serves the tills.
_NICENESS = 10


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to create.")],
    config: ConfigFile = None,
) -> None:
    """Write what is undelivered to a file to carry by hand.

    For a store without a line. The file is compressed, and sealed with head office's public key
    ([central] public_key_file): only head office can read it, with `loyalty-hq import FILE`. Works
    with or without the agent running. Nothing is marked as delivered: once the line is back, the
    agent delivers as usual, and head office recognises what it has. An existing FILE is not
    overwritten.
    """
    settings = AGENT.settings(config)
    seal = _seal(settings)
    if file.exists() or file.is_symlink():
        _refuse(f"{file} exists already: choose another name")
    if not file.parent.is_dir():
        _refuse(f"{file.parent} is not a directory")
    os.nice(_NICENESS)
    try:
        backlog = Backlog(settings.storage.directory, settings.storage.encryption_key_path)
        if not backlog.extent().events:
            say("Nothing is undelivered: no file is written.")
            return
        events = _write(file, backlog, settings, seal)
    except BacklogError as error:
        AGENT.fail(str(error))
    till = f"{settings.store.store_id}/{settings.store.till_id}"
    say(f"{file} has {count(events, 'undelivered capture')} of {till}.")
    say(f"Only head office can read it, with its key {key_id_of(seal.key)}.")
    say("Nothing is marked as delivered. At head office: loyalty-hq import FILE")
    if seal.token_hash is None:
        AGENT.warn(
            "without a token of head office nothing proves that it is this till's: head office"
            " takes it with --unproven only"
        )


def _seal(settings: Settings) -> Seal:
    """Return the keys of the bundle, or exit with code 2."""
    store, central = settings.store, settings.central
    unset = settings_missing_for_delivery(store.store_id, store.till_id, "any")
    if unset:
        _refuse(f"{' and '.join(unset)} must be set: head office takes captures of known tills")
    if central.protocol is not Protocol.BATCH:
        _refuse(f'exports are for protocol "batch", and central.protocol is "{central.protocol}"')
    if central.public_key_file is None:
        _refuse(
            "central.public_key_file must name head office's public key: at head office,"
            " `loyalty-hq keys` prints it"
        )
    with AGENT.exit_on_configuration_error():
        key = read_export_key(central.public_key_file)
    return Seal(key, os.urandom(CONTENT_KEY_BYTES), _token_hash(settings))


def _token_hash(settings: Settings) -> str | None:
    auth = settings.central.auth
    if auth.kind is not AuthKind.BEARER or auth.token_file is None:
        return None
    with AGENT.exit_on_configuration_error():
        return hash_token(read_secret(auth.token_file, "central.auth.token_file"))


def _write(file: Path, backlog: Backlog, settings: Settings, seal: Seal) -> int:
    store = settings.store
    boot_id = read_boot_id(os.environ) or str(uuid4())
    sender = Sender(store.store_id, store.till_id, boot_id, installed_version(), _now)
    try:
        remove_abandoned(file.parent)
        with atomic_file(file) as opened, countdown("Exporting") as show:
            return write_bundle(opened, backlog, sender, seal, show)
    except OSError as error:
        AGENT.fail(f"cannot write {file} ({error.strerror or error})")


def _now() -> Timestamp:
    return Timestamp(time.time_ns() // 1000, 0)


def _refuse(reason: str) -> NoReturn:
    AGENT.fail(reason, ExitCode.USAGE)

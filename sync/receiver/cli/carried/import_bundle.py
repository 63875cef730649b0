"""`loyalty-hq import`: take the captures of a file that an agent exported."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sync.protocol.bundle.sealing import BundleError, OtherRecipientError
from sync.protocol.rfc3339 import to_rfc3339
from sync.protocol.wire import ErrorCode
from sync.receiver.carried.bundle_file import BundleFile, open_bundle
from sync.receiver.carried.import_bundle import (
    BundleImport,
    EpochReport,
    ImportReport,
    Origin,
)
from sync.receiver.carried.private_keys import by_id, private_key_path, read_private_keys
from sync.receiver.cli.hq import HEAD_OFFICE, audit_log, run_on_database
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.ingest.placement import MalformedBatch
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption
from sync.runtime.cli.printing import count, echo_json, say
from sync.runtime.cli.program import ExitCode
from sync.runtime.cli.progress import countdown
from sync.runtime.files.regular_file import require_regular
from sync.runtime.network.http_errors import HttpError


def import_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `loyalty-agent export`.")],
    config: ConfigFile = None,
    *,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Take it without the proof of the till's token.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take the captures of a file that an agent exported.

    All of the file is checked before anything is taken: it must be complete, unchanged, sealed with
    head office's key (`keys`), and of a till that is enrolled. Then its captures are taken as if
    the till had sent them. What is here already has no effect, so an interrupted import is
    repeated. Safe while head office serves. Exit code 1 if a capture is rejected or not taken.
    """
    settings = HEAD_OFFICE.settings(config)
    keys, report = by_id(_private_keys(settings)), ImportReport()
    with _opened(file) as opened, _refusals(file, report):
        bundle = open_bundle(opened, keys)
        origin = _take(settings, bundle, file.name, report, accept_unproven=unproven)
    if as_json:
        echo_json(_document(bundle, origin, report))
    else:
        _print(bundle, report)
    raise typer.Exit(ExitCode.OK if report.is_whole else ExitCode.PROBLEM)


def _private_keys(settings: ReceiverSettings) -> list[X25519PrivateKey]:
    path = private_key_path(settings)
    try:
        with HEAD_OFFICE.exit_on_configuration_error():
            found = read_private_keys(path)
    except OSError as error:
        HEAD_OFFICE.fail(f"cannot read {path} ({error.strerror})")
    if not found:
        HEAD_OFFICE.fail(f"there is no private key in {path}: see `loyalty-hq keys`")
    return found


def _take(
    settings: ReceiverSettings,
    bundle: BundleFile,
    file_name: str,
    report: ImportReport,
    *,
    accept_unproven: bool,
) -> Origin:
    audit = audit_log()

    async def take(database: Database) -> Origin:
        ledger = Ledger(database, settings.intake.shared_session_stores)
        work = BundleImport(database, ledger, audit, lambda: datetime.now(UTC))
        origin = await work.origin(bundle, accept_unproven=accept_unproven)
        # Ends before anything is printed.
        with countdown("Importing") as show:
            await work.take(bundle, origin, file_name, report, show)
        return origin

    return run_on_database(settings, take)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        require_regular(file)
        with file.open("rb") as opened:
            yield opened
    except OSError as error:
        HEAD_OFFICE.refuse(f"cannot read {file} ({error.strerror})")


@contextmanager
def _refusals(file: Path, report: ImportReport) -> Iterator[None]:
    """Print why a bundle is not taken, or not to its end, and exit with code 1."""
    try:
        yield
    except OtherRecipientError as error:
        HEAD_OFFICE.fail(
            f"{file}: {error}: it is another head office's, or its private key is on another"
            f" machine; {_taken(report)}"
        )
    except (BundleError, HttpError, MalformedBatch) as error:
        HEAD_OFFICE.fail(f"{file}: {error}; {_taken(report)}")
    except BaseException:
        # The database failed, or Ctrl-C: the transaction under way may have been committed.
        HEAD_OFFICE.warn(f"{file}: {_taken(report, nothing='it stopped: import it again')}")
        raise


def _taken(report: ImportReport, nothing: str = "nothing was taken") -> str:
    """Return what was taken before the import stopped."""
    here = report.total.taken + report.total.already_here
    if not here:
        return nothing
    captures = count(here, "capture")
    return f"it stopped, at least {captures} of it are here: import it again for the others"


def _document(bundle: BundleFile, origin: Origin, report: ImportReport) -> dict[str, object]:
    """Return the report for `--json`."""
    return {
        "storeId": bundle.name.store_id,
        "tillId": bundle.name.till_id,
        "writtenAt": to_rfc3339(bundle.written_at, "milliseconds"),
        "keyId": bundle.key_id,
        "isProven": origin.is_proven,
        "events": report.total.events,
        **_counts(report.total),
        "epochs": [
            {"epoch": epoch, **_counts(one), "acceptedThrough": one.accepted_through}
            for epoch, one in report.epochs.items()
        ],
    }


def _counts(one: EpochReport) -> dict[str, object]:
    return {
        "taken": one.taken,
        "alreadyHere": one.already_here,
        "rejected": dict(one.rejected),
        "refused": dict(one.refused),
    }


def _print(bundle: BundleFile, report: ImportReport) -> None:
    name, total = bundle.name, report.total
    written = f"exported {bundle.written_at:%Y-%m-%d %H:%M} UTC"
    say(f"{name.store_id}/{name.till_id}, {written}: {count(total.events, 'capture')}.")
    say(f"Taken: {total.taken:,}. Already here: {total.already_here:,}.")
    for epoch, one in report.epochs.items():
        say(f"Epoch {epoch}: all up to {one.accepted_through:,} is here.")
    for code, number in total.rejected.items():
        HEAD_OFFICE.warn(f"rejected, and recorded as such: {count(number, 'capture')} ({code})")
    for epoch, one in report.epochs.items():
        for code, number in one.refused.items():
            what = f"{count(number, 'capture')} of epoch {epoch} ({code})"
            HEAD_OFFICE.warn(f"not taken: {what}: {_why(code, one)}")


def _why(code: str, epoch: EpochReport) -> str:
    if code == ErrorCode.SEQUENCE_GAP:
        return (
            f"head office lacks number {epoch.expected}, and the till had delivered it. Was head"
            " office restored from a backup? The till sends all again once its line is back"
        )
    return "the till began too many epochs: find out why its database is replaced so often"

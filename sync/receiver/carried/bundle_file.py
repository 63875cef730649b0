"""A bundle opened with head office's private keys."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sync.protocol.bundle.contents import (
    BundleEnd,
    BundleHead,
    decode_head,
    malformed,
    read_records,
)
from sync.protocol.bundle.sealing import BundleError, open_head
from sync.protocol.rfc3339 import from_rfc3339
from sync.receiver.auth.tokens import AgentName
from sync.receiver.ingest.parse import MAX_EVENTS, check_epochs, check_ids
from sync.runtime.network.http_errors import HttpError
from sync.runtime.settings.types import check_name


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A bundle of one till, in a file that can be read again."""

    head: BundleHead
    name: AgentName
    written_at: datetime
    key_id: str
    _file: BinaryIO
    _start: int

    def verify(self) -> int:
        """Read all of it, and return the number of events that it names. Raises `BundleError`.

        Before anything is taken: of a file that is cut short or was changed nothing is.
        """
        for batches, record in enumerate(self._records()):
            if isinstance(record, BundleEnd):
                if record.batches != batches or not 0 <= record.events <= batches * MAX_EVENTS:
                    raise malformed("it miscounts its own captures")
                return record.events
        raise malformed("it has no end")

    def batches(self) -> Iterator[bytes]:
        """Yield its batches as JSON. Raises `BundleError`."""
        for record in self._records():
            if isinstance(record, bytes):
                yield record

    def _records(self) -> Iterator[bytes | BundleEnd]:
        with _readable():
            file_bytes = self._file.seek(0, os.SEEK_END)
            self._file.seek(self._start)
            yield from read_records(self._file, self.head.content_key, file_bytes)


def open_bundle(file: BinaryIO, keys: Mapping[str, X25519PrivateKey]) -> BundleFile:
    """Open the bundle in `file`, which can seek. Raises `BundleError`."""
    with _readable():
        opened = open_head(file, keys)
        head = decode_head(opened.content)
        try:
            name = AgentName(check_name(head.store_id), check_name(head.till_id))
        except ValueError:
            raise malformed("it names no store and till that can be enrolled") from None
        try:
            check_ids(head.agent_version)
            check_epochs(head.epochs)
        except HttpError:
            raise malformed("it names epochs that no agent has") from None
        written_at = from_rfc3339(head.written_at)
        if written_at is None:
            raise malformed("it does not say when it was written")
        return BundleFile(head, name, written_at, opened.key_id, file, file.tell())


@contextmanager
def _readable() -> Iterator[None]:
    """Turn an error of reading the file into a `BundleError`: the database is not to blame."""
    try:
        yield
    except OSError as error:
        raise BundleError(f"it cannot be read to its end ({error.strerror})") from None

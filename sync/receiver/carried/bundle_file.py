"""A bundle opened with head office's private keys."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sync.protocol.bundle.contents import BundleEnd, BundleHead, decode_head, read_records
from sync.protocol.bundle.sealing import BundleError, open_head
from sync.receiver.auth.tokens import AgentName
from sync.runtime.settings.types import check_name


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A bundle of one till, in a file that can be read again."""

    head: BundleHead
    name: AgentName
    key_id: str
    _file: BinaryIO
    _start: int

    def verify(self) -> int:
        """Read all of it, and return the number of its events. Raises `BundleError`.

        Before anything is taken: of a file that is cut short or was changed nothing is.
        """
        for batches, record in enumerate(self._records()):
            if isinstance(record, BundleEnd):
                if record.batches != batches:
                    raise BundleError("it lacks some of its own batches")
                return record.events
        raise BundleError("it has no end")

    def batches(self) -> Iterator[bytes]:
        """Yield its batches as JSON. Raises `BundleError`."""
        for record in self._records():
            if isinstance(record, bytes):
                yield record

    def _records(self) -> Iterator[bytes | BundleEnd]:
        file_bytes = self._file.seek(0, os.SEEK_END)
        self._file.seek(self._start)
        return read_records(self._file, self.head.content_key, file_bytes)


def open_bundle(file: BinaryIO, keys: Mapping[str, X25519PrivateKey]) -> BundleFile:
    """Open the bundle in `file`, which can seek. Raises `BundleError`."""
    opened = open_head(file, keys)
    head = decode_head(opened.content)
    try:
        name = AgentName(check_name(head.store_id), check_name(head.till_id))
    except ValueError:
        raise BundleError("it names no store and till that can be enrolled") from None
    return BundleFile(head, name, opened.key_id, file, file.tell())

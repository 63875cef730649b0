"""A bundle is complete and unchanged, or nothing of it is taken."""

import errno
import io
import random
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sync.protocol.bundle.contents import BundleHead, encode_head
from sync.protocol.bundle.sealing import (
    CHUNK_BYTES,
    BundleError,
    OtherRecipientError,
    SealedReader,
    SealedWriter,
    key_id_of,
)
from sync.protocol.wire import EpochExtent
from sync.receiver.carried.bundle_file import BundleFile, open_bundle
from tests.support.head_office.bundles import HEAD_OFFICE_KEY, sealed
from tests.support.head_office.messages import SimulatedAgent

# Three chunks: random bytes do not compress.
BATCHES = [(random.Random(number).randbytes(60_000), 5) for number in range(3)]
BUNDLE = sealed(SimulatedAgent(), BATCHES)
KEYS = {key_id_of(HEAD_OFFICE_KEY.public_key()): HEAD_OFFICE_KEY}
SEALED_CHUNK = CHUNK_BYTES + 16


def opened(content: bytes) -> BundleFile:
    """Open and verify a bundle."""
    bundle = open_bundle(io.BytesIO(content), KEYS)
    assert bundle.verify() == 15
    return bundle


def test_bundle_gives_back_its_batches_twice() -> None:
    bundle = opened(BUNDLE)

    assert list(bundle.batches()) == [batch for batch, _ in BATCHES]
    assert list(bundle.batches()) == [batch for batch, _ in BATCHES]


def test_empty_bundle_is_whole() -> None:
    bundle = open_bundle(io.BytesIO(sealed(SimulatedAgent(), [])), KEYS)

    assert (bundle.verify(), list(bundle.batches())) == (0, [])


def test_content_out_of_proportion_to_its_file_is_refused_early() -> None:
    """Whoever has the public key can seal zeros: 25 MB of them took half an hour to check."""
    bomb = sealed(SimulatedAgent(), [(bytes(4 * 1024**2), 0)] * 40)
    bundle = open_bundle(io.BytesIO(bomb), KEYS)
    taken: list[int] = []

    with pytest.raises(BundleError, match="not that of a bundle"):
        taken.extend(map(len, bundle.batches()))

    assert sum(taken) <= 64 * 1024**2


class PulledOut(io.BytesIO):
    """A file on a stick that is pulled out: only its beginning can be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, or fail."""
        if self.tell() > SEALED_CHUNK:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


def test_file_that_cannot_be_read_any_more_is_no_fault_of_the_database() -> None:
    bundle = open_bundle(PulledOut(BUNDLE), KEYS)

    with pytest.raises(BundleError, match=r"cannot be read to its end \(Input/output error\)"):
        bundle.verify()


@pytest.mark.parametrize("events", [-1, 2**60, 2**70])
def test_bundle_that_names_an_impossible_number_of_captures_is_refused(events: int) -> None:
    epochs = [EpochExtent(epoch="e", last_sequence=1)]
    content = sealed(SimulatedAgent(), [(bytes(100), events)], epochs=epochs)
    bundle = open_bundle(io.BytesIO(content), KEYS)

    with pytest.raises(BundleError, match="it miscounts its own captures"):
        bundle.verify()


@pytest.mark.parametrize(
    "wrong",
    [
        {"last_sequence": 2**63},
        {"last_sequence": -1},
        {"base_sequence": 2**70},
        {"epoch": ""},
        {"epoch": "e" * 129},
        {"returned_through": -1},
        {"returned": [(5, 1)]},
    ],
)
def test_bundle_that_names_an_impossible_epoch_is_refused(wrong: Mapping[str, Any]) -> None:
    """What no heartbeat may say must not come by hand either: a database cannot store it."""
    members: dict[str, Any] = {"epoch": "e", "last_sequence": 1}
    content = sealed(SimulatedAgent(), BATCHES, epochs=[EpochExtent(**{**members, **wrong})])

    with pytest.raises(BundleError, match="it names epochs that no agent has"):
        opened(content)


def test_bundle_of_countless_tiny_batches_is_refused_at_the_first() -> None:
    """They compress without limit: one megabyte of them took ten minutes to check."""
    bundle = open_bundle(io.BytesIO(sealed(SimulatedAgent(), [(b"{}", 0)] * 1000)), KEYS)
    taken: list[bytes] = []

    with pytest.raises(BundleError, match="not that of a bundle"):
        taken.extend(bundle.batches())

    assert taken == []


@given(st.integers(0, len(BUNDLE) - 1))
def test_any_prefix_is_refused(length: int) -> None:
    with pytest.raises(BundleError):
        opened(BUNDLE[:length])


@given(st.integers(0, len(BUNDLE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(position: int, flip: int) -> None:
    damaged = bytearray(BUNDLE)
    damaged[position] ^= flip

    with pytest.raises(BundleError):
        opened(bytes(damaged))


@given(st.binary(min_size=1, max_size=100))
def test_anything_behind_the_end_is_refused(more: bytes) -> None:
    with pytest.raises(BundleError):
        opened(BUNDLE + more)


def test_swapped_repeated_and_missing_chunks_are_refused() -> None:
    start = len(BUNDLE) - _chunk_bytes(BUNDLE)
    head, chunks = BUNDLE[:start], BUNDLE[start:]
    first, second, last = (
        chunks[:SEALED_CHUNK],
        chunks[SEALED_CHUNK : 2 * SEALED_CHUNK],
        chunks[2 * SEALED_CHUNK :],
    )
    assert opened(head + first + second + last)

    for wrong in (
        second + first + last,
        first + first + last,
        first + last,
        second + last,
        first + second,
        last,
        b"",
    ):
        with pytest.raises(BundleError):
            opened(head + wrong)


@pytest.mark.parametrize("chunks", [1, 2])
def test_stream_cut_between_two_chunks_is_refused(chunks: int) -> None:
    """All that is left is authentic; only the mark of the last chunk is missing."""
    file, content_key = io.BytesIO(), bytes(32)
    writer = SealedWriter(file, HEAD_OFFICE_KEY.public_key(), b"{}", content_key)
    writer.write(bytes(3 * CHUNK_BYTES))
    writer.close()
    sealed_chunks = file.getvalue()[-3 * SEALED_CHUNK :]
    assert SealedReader(io.BytesIO(sealed_chunks), content_key).readall()

    with pytest.raises(BundleError):
        SealedReader(io.BytesIO(sealed_chunks[: chunks * SEALED_CHUNK]), content_key).readall()


def test_head_of_one_bundle_does_not_open_the_chunks_of_another() -> None:
    other = sealed(SimulatedAgent(), BATCHES, seed=2)
    start = len(BUNDLE) - _chunk_bytes(BUNDLE)

    with pytest.raises(BundleError):
        opened(BUNDLE[:start] + other[start:])


def test_bundle_for_another_head_office_is_refused_by_name_of_its_key() -> None:
    key = X25519PrivateKey.generate()

    with pytest.raises(OtherRecipientError, match=key_id_of(key.public_key())):
        opened(sealed(SimulatedAgent(), BATCHES, key=key))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"SQLite format 3\0" * 4])
def test_another_file_is_called_so(content: bytes) -> None:
    with pytest.raises(BundleError, match="not a file of `loyalty-agent export`"):
        opened(content)


def test_bundle_of_a_later_version_asks_for_an_upgrade() -> None:
    later = bytearray(BUNDLE)
    later[len(b"loyalty-bundle\n")] = 2

    with pytest.raises(BundleError, match="upgrade head office"):
        opened(bytes(later))


def test_sealed_nonsense_is_refused_and_not_a_traceback() -> None:
    """Whoever has the public key can seal anything."""
    content_key = bytes(32)
    head = BundleHead(
        content_key=content_key,
        store_id="0042",
        till_id="till-1",
        agent_version="1",
        written_at="now",
        epochs=[EpochExtent(epoch="e", last_sequence=1)],
    )
    for content in (b"", b"nonsense", bytes(100_000)):
        file = io.BytesIO()
        writer = SealedWriter(file, HEAD_OFFICE_KEY.public_key(), encode_head(head), content_key)
        writer.write(content)
        writer.close()
        with pytest.raises(BundleError):
            opened(file.getvalue())


def _chunk_bytes(bundle: bytes) -> int:
    """Return the size of the chunks: two whole ones and the rest."""
    prefix = len(b"loyalty-bundle\n\x01") + 8
    head = int.from_bytes(bundle[prefix : prefix + 4])
    return len(bundle) - prefix - 4 - head

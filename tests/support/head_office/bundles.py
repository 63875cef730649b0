"""Bundles of simulated agents, as `loyalty-agent export` seals them."""

import io
import random
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sync.protocol.bundle.contents import BundleHead, BundleWriter, encode_head, proof_of
from sync.protocol.bundle.sealing import CONTENT_KEY_BYTES, SealedWriter
from sync.protocol.wire import EpochExtent
from tests.support.head_office.messages import SimulatedAgent, wire_time

HEAD_OFFICE_KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))


def sealed(
    sender: SimulatedAgent,
    batches: Sequence[tuple[bytes, int]],
    *,
    epochs: Sequence[EpochExtent] = (),
    token_hash: str = "",
    key: X25519PrivateKey = HEAD_OFFICE_KEY,
    written_at: str = wire_time(),
    seed: int = 1,
) -> bytes:
    """Return a bundle with these batches and their numbers of events.

    `epochs`: those that it names; the sender's one otherwise.
    """
    content_key = random.Random(seed).randbytes(CONTENT_KEY_BYTES)
    store, till = sender.store_id, sender.till_id
    last = sum(events for _, events in batches)
    head = BundleHead(
        content_key=content_key,
        store_id=store,
        till_id=till,
        agent_version="0.1.0",
        written_at=written_at,
        epochs=list(epochs) or [EpochExtent(epoch=sender.epoch, last_sequence=last)],
        proof=proof_of(content_key, store, till, token_hash) if token_hash else b"",
    )
    file = io.BytesIO()
    writer = BundleWriter(SealedWriter(file, key.public_key(), encode_head(head), content_key))
    for batch, events in batches:
        writer.add(batch, events)
    writer.close()
    return file.getvalue()

"""Writes the backlog as a bundle that only head office can open."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from agent.export.backlog import Backlog
from sync.delivery.transports.batch.documents import Sender, carried_batch
from sync.protocol.bundle.contents import BundleHead, BundleWriter, encode_head, proof_of
from sync.protocol.bundle.sealing import SealedWriter
from sync.protocol.rfc3339 import us_to_rfc3339


@dataclass(frozen=True, slots=True)
class Seal:
    """Keys of one bundle: head office's public `key` and the random `content_key`.

    `token_hash` is the hash of the agent's token at head office; None if it has none.
    """

    key: X25519PublicKey
    content_key: bytes
    token_hash: str | None


def write_bundle(
    file: BinaryIO, backlog: Backlog, sender: Sender, seal: Seal, show: Callable[[int], None]
) -> int:
    """Write all undelivered events; return their number. `show` gets the number that remain."""
    epochs, remaining, last_position = backlog.extent()
    head = BundleHead(
        content_key=seal.content_key,
        store_id=sender.store_id,
        till_id=sender.till_id,
        agent_version=sender.agent_version,
        written_at=us_to_rfc3339(sender.clock().wall_us),
        epochs=epochs,
        proof=_proof(sender, seal),
    )
    writer = BundleWriter(SealedWriter(file, seal.key, encode_head(head), seal.content_key))
    show(remaining)
    for window in backlog.windows(last_position):
        writer.add(carried_batch(window, sender), len(window.events))
        remaining -= len(window.events)
        show(max(remaining, 0))
    return writer.close()


def _proof(sender: Sender, seal: Seal) -> bytes:
    if seal.token_hash is None:
        return b""
    return proof_of(seal.content_key, sender.store_id, sender.till_id, seal.token_hash)

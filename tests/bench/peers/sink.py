"""Upper bound for the delivery benchmark: a head office that stores nothing.

Decompresses and decodes batches as the receiver does, and answers them.
`python -m tests.bench.peers.sink --port N [--record DIR]`.
"""

import argparse
from pathlib import Path

import msgspec
import uvloop
import zstandard
from aiohttp import web

from sync.protocol.wire import BATCHES_PATH, HEARTBEATS_PATH, Batch, BatchAccepted, HeartbeatAnswer

MOST_BYTES = 100_000_000
_JSON = {"Content-Type": "application/json"}


class Sink:
    """Accepts everything and stores nothing; optionally records the bodies of batches."""

    def __init__(self, record: Path | None) -> None:
        self._record = record
        self._recorded = 0
        self._batch = msgspec.json.Decoder(Batch)

    async def take_batch(self, request: web.Request) -> web.Response:
        """Answer a batch as if it were committed."""
        body = await request.read()
        if self._record is not None:
            (self._record / f"{self._recorded:06}").write_bytes(body)
            self._recorded += 1
        batch = self._batch.decode(zstandard.decompress(body, max_output_size=MOST_BYTES))
        accepted = BatchAccepted(accepted_through=batch.events[-1].sequence, rejected=[])
        return web.Response(body=msgspec.json.encode(accepted), headers=_JSON)

    async def take_heartbeat(self, _request: web.Request) -> web.Response:
        """Answer a heartbeat."""
        return web.Response(body=msgspec.json.encode(HeartbeatAnswer(epochs=[])), headers=_JSON)


async def ready(_request: web.Request) -> web.Response:
    """Answer the readiness check."""
    return web.Response(text="ready")


def build_app(sink: Sink) -> web.Application:
    """Create the application; the sink decompresses bodies itself."""
    app = web.Application(client_max_size=MOST_BYTES, handler_args={"auto_decompress": False})
    app.router.add_get("/readyz", ready)
    app.router.add_post(BATCHES_PATH, sink.take_batch)
    app.router.add_post(HEARTBEATS_PATH, sink.take_heartbeat)
    return app


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    web.run_app(
        build_app(Sink(options.record)),
        host="127.0.0.1",
        port=options.port,
        loop=uvloop.new_event_loop(),
        access_log=None,
        print=None,
    )


if __name__ == "__main__":
    main()

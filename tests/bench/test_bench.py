"""The benchmark's load generator against the bare peer."""

from collections import Counter

from aiohttp import web

from tests.bench.peers.bare import build_app
from tests.support.till.crowd import CaptureAnswer, Crowd
from tests.support.till.requests import EMAIL_BODY_BYTES, Kind, fresh_pair

PAIRS = 25


async def test_bare_peer_acknowledges_every_pair_of_the_load() -> None:
    """Four tills share the customers: each pair is complete and sent once."""
    customers = [fresh_pair() for _ in range(PAIRS)]
    acknowledged: list[CaptureAnswer] = []
    runner = web.AppRunner(build_app())
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        crowd = Crowd(
            *runner.addresses[0], pairs=iter(customers), on_acknowledged=acknowledged.append
        )
        await crowd.open(4)
        assert await crowd.finished(timeout_seconds=10)
    finally:
        await runner.cleanup()

    expected = {(customer.correlation_id, kind) for customer in customers for kind in Kind}
    got = Counter((answer.correlation_id, answer.kind) for answer in acknowledged)
    assert got == Counter(expected)
    assert not crowd.in_doubt
    assert not crowd.failures
    emails = {answer.body_bytes for answer in acknowledged if answer.kind is Kind.EMAIL}
    assert emails == {EMAIL_BODY_BYTES}

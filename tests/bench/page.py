"""Page benchmark: response times of head office's pages with a whole chain.

Prints figures without targets. The receiver runs in this process, on a temporary PostgreSQL
server; each URL is requested repeatedly, one request at a time.
"""

import statistics
import time
from pathlib import Path

import asyncpg

from sync.receiver.db.postgresql import Postgresql
from sync.receiver.reports.history import HOURS_SHOWN
from tests.support.head_office.messages import AT
from tests.support.head_office.postgresql import PostgresqlServer, started_server
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.support.head_office.sample_chain import fill

STORES = 10_000
PAGES = {
    "the fleet, worst first": "/",
    "its last page": "/?page=200",
    "by backlog": "/?sort=waiting&order=down",
    "silent stores": "/?state=silent",
    "a search": "/?search=99",
    "a store": "/stores/00097",
    "the plots' figures": "/history.json",
    "Prometheus' figures": "/metrics",
    "those of a store": "/history.json?store=00097",
}
# Each till is open twelve hours a day.
_HOURS = """
INSERT INTO hours
SELECT store_id, till_id, $1::timestamptz - ago * interval '1 hour', 40, 20, 12, 8, 0, 80, 200, 9
FROM tokens, generate_series(0, $2::int - 1) AS ago WHERE ago % 24 < 12
"""


async def measure_page(directory: Path, stores: int, times: int) -> None:
    """Measure and print; `directory` holds the files of receiver and server."""
    with started_server() as server:
        url = await create_database(server, stores)
        settings = settings_in(directory, database={"url": url})
        async with receiver_under_test(settings) as receiver:
            print(f"{stores:,} stores, two tills each, on PostgreSQL; {times} requests each")
            print(f"{'':<24}{'median ms':>10}{'longest ms':>12}{'KiB':>8}")
            for name, path in PAGES.items():
                print(await measure_path(receiver, name, path, times))


async def create_database(server: PostgresqlServer, stores: int) -> str:
    """Create a database with `stores` stores; return its URL."""
    url = await server.new_database()
    database = Postgresql(url)
    await database.open()
    await fill(database, stores)
    await database.close()
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(_HOURS, AT.replace(minute=0, second=0), HOURS_SHOWN)
    await connection.close()
    return url


async def measure_path(receiver: Receiver, name: str, path: str, times: int) -> str:
    """Measure one path; return its output line."""
    times_ms: list[float] = []
    size = 0
    for _ in range(times):
        began = time.perf_counter()
        answered = await receiver.get(path)
        times_ms.append((time.perf_counter() - began) * 1000)
        size = len(answered.body)
        if answered.status != 200:
            raise RuntimeError(f"{path} was answered with {answered.status}")
    return (
        f"{name:<24}{statistics.median(times_ms):>10.0f}{max(times_ms):>12.0f}{size / 1024:>8.1f}"
    )

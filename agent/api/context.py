"""Dependencies of the request handlers, created by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from agent.api.access import Access
from agent.api.metrics import Metrics
from agent.capture.session_answer import SessionAnswers
from agent.facts import Timestamp
from agent.store.learned_terms import NotFetched
from agent.store.outbox.dead_letter_queue import DeadLetters
from agent.store.queries.reader import StoreReader
from agent.store.writer import Writer
from sync.delivery.delivery_loop import DeliveryLoop
from sync.protocol.terms_check import TermsFault
from sync.runtime.network.loopback import OtherLoopback
from sync.runtime.start import Rejected


@dataclass(frozen=True, slots=True)
class Identity:
    """Constant facts about this agent, for status and metrics.

    `rejected_configuration` is wrong; the agent started with an older one. `certificates` are
    those that it presents, to tills and to head office.
    """

    version: str
    store_id: str
    till_id: str
    started_at_us: int
    storage_directory: str
    central_url: str
    central_protocol: str
    delivered_days: float
    rejected_configuration: Rejected | None
    certificates: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """Dependencies of the handlers, clock and id generator included.

    `delivery` is None if central is not configured. `name_shared_since_us` returns since when head
    office hears another machine under this name; None if it does not.
    """

    identity: Identity
    access: Access
    writer: Writer
    reader: StoreReader
    answers: SessionAnswers
    metrics: Metrics
    now: Callable[[], Timestamp]
    new_request_id: Callable[[], str]
    check_email_syntax: bool
    delivery: DeliveryLoop | None
    dead_letters: DeadLetters
    terms_refused: Callable[[], TermsFault | None]
    terms_not_fetched: Callable[[], NotFetched | None]
    name_shared_since_us: Callable[[], int | None]
    other_loopback: OtherLoopback


CONTEXT = web.AppKey("context", Context)

"""Applies program terms received from central and stores them for use while offline."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import msgspec
from tenacity import retry, retry_if_exception_type, wait_fixed

from agent.capture.session_answer import MAX_LEARNED, SessionAnswers
from agent.store.access import StoreAccess
from agent.store.crypto.bodies import may_hold_address
from agent.store.learned_terms import LearnedTerms, keep_terms, read_etag, read_terms
from sync.delivery.outbox import OutboxUnavailable
from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.transports.batch.control_requests import NewTerms
from sync.protocol.program_terms import Locale, ProgramTerms, SessionKind, SessionTerms
from sync.protocol.terms_check import TermsFault, find_fault
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
# Sources of stored terms: the program, or the answers of central to one kind of session.
_PROGRAM = "program"
_ANSWER = "answer:"
_RETRY_SECONDS = 1.0
T = TypeVar("T", ProgramTerms, SessionTerms)


class ProgramTermsSync:
    """Updates the answers to session starts. Not thread-safe; event loop only.

    Terms out of their bounds are refused: the terms before stay, and the fault is reported until
    central sends usable ones.
    """

    def __init__(
        self, answers: SessionAnswers, storage: StoreAccess, now_us: Callable[[], int]
    ) -> None:
        self._answers = answers
        self._storage = storage
        self._now_us = now_us
        self._storing: set[asyncio.Task[None]] = set()
        self._uses_program = False
        self._faults: dict[str, TermsFault] = {}

    @property
    def refused(self) -> TermsFault | None:
        """The fault of the terms that central sends now; None if they are in use."""
        return next(reversed(self._faults.values()), None)

    @retry(retry=retry_if_exception_type(OutboxUnavailable), wait=wait_fixed(_RETRY_SECONDS))
    async def restore_when_open(self) -> None:
        """Apply the stored terms; retry every second until the storage is available."""
        # Read through the writer: it opens, and if necessary migrates, the database first.
        for learned in await self._storage.write(read_terms):
            try:
                self._apply(learned)
            except (msgspec.MsgspecError, ValueError):
                # Written by another version. The configured terms apply until central answers.
                # Log only the prefix of the source: the channel in it is free text from a till.
                _log_invalid(learned.source.partition(":")[0])

    def _apply(self, learned: LearnedTerms) -> None:
        if learned.source == _PROGRAM:
            self._answers.adopt(_usable(msgspec.json.decode(learned.terms, type=ProgramTerms)))
            self._uses_program = True
        elif learned.source.startswith(_ANSWER):
            kind = msgspec.json.decode(learned.source.removeprefix(_ANSWER), type=SessionKind)
            # Earlier versions stored an empty channel as such. It counts as none.
            kind = replace(kind, channel=kind.channel or None)
            terms = _usable(msgspec.json.decode(learned.terms, type=SessionTerms))
            self._answers.learn(kind, terms)

    async def known_etag(self) -> str | None:
        """Return the ETag of the terms in use. Raises `OutboxUnavailable`.

        Not that of stored terms that could not be applied: they would be "not modified" for ever.
        """
        return await self._storage.read(read_etag, _PROGRAM) if self._uses_program else None

    async def on_fetched(self, found: NewTerms | TermsFault | Blocked | RetryLater | None) -> None:
        """Adopt or refuse the terms of head office. Raises `OutboxUnavailable`."""
        match found:
            case NewTerms():
                await self.adopt(found.terms, found.etag)
            case TermsFault():
                self._refuse(_PROGRAM, found)
            case None:  # head office publishes the terms in use (again)
                self._faults.clear()

    async def adopt(self, terms: ProgramTerms, etag: str | None) -> None:
        """Apply and store the terms of head office. Raises `OutboxUnavailable`."""
        if fault := find_fault(terms):
            self._refuse(_PROGRAM, fault)
            return
        known = {name: texts for name, texts in terms.messages.items() if name in set(Locale)}
        terms = msgspec.structs.replace(terms, messages=known)
        self._answers.adopt(terms)
        self._faults.clear()
        self._uses_program = True
        await self._store(LearnedTerms(_PROGRAM, _encoded(terms), etag))
        log_event(_log, logging.INFO, "terms.adopted", etag=etag)

    def observe(self, kind: SessionKind, terms: SessionTerms | TermsFault) -> None:
        """Answer sessions of this kind as central answered one; store that in the background.

        Learned terms are stored unencrypted, so a channel that can contain an e-mail address
        is ignored.
        """
        source = _ANSWER + _encoded(kind)
        if isinstance(terms, TermsFault):
            self._refuse(source, terms)
            return
        self._faults.pop(source, None)
        if may_hold_address((kind.channel or "").encode()) or not self._answers.learn(kind, terms):
            return
        learned = LearnedTerms(source, _encoded(terms))
        task = asyncio.ensure_future(self._store_observed(learned))
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    def _refuse(self, source: str, fault: TermsFault) -> None:
        """Report `fault`; log it unless it is known, for this source or for another one."""
        is_known = fault in self._faults.values()
        if source in self._faults or len(self._faults) < MAX_LEARNED:
            self._faults[source] = fault
        if not is_known:
            log_event(
                _log, logging.WARNING, "terms.refused", field=fault.field, reason=fault.reason
            )

    async def _store_observed(self, learned: LearnedTerms) -> None:
        try:
            await self._store(learned)
        except OutboxUnavailable as unavailable:
            log_event(_log, logging.WARNING, "terms.store_failed", reason=str(unavailable))

    async def _store(self, learned: LearnedTerms) -> None:
        await self._storage.write(keep_terms, learned, self._now_us())


def _usable(terms: T) -> T:
    """Return `terms`. Raises `ValueError` if they are out of their bounds."""
    if fault := find_fault(terms):
        raise ValueError(str(fault))
    return terms


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _log_invalid(source: str) -> None:
    log_event(_log, logging.WARNING, "terms.invalid", source=source)

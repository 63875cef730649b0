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
from agent.store.files.storage_errors import StorageFullError
from agent.store.learned_terms import (
    LearnedTerms,
    NotFetched,
    TermsFetch,
    keep_fetch,
    keep_terms,
    read_fetch,
    read_terms,
)
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
_HOUR_US = 3_600 * 1_000_000
MISSED_AFTER_US, _NOTE_AFTER_US = 24 * _HOUR_US, _HOUR_US
T = TypeVar("T", ProgramTerms, SessionTerms)


class ProgramTermsSync:
    """Updates the answers to session starts. Not thread-safe; event loop only.

    Terms out of their bounds are refused: the terms before stay, and the fault is reported until
    central sends usable ones, also after a restart. So are terms that are not fetched for a day.
    """

    def __init__(
        self,
        answers: SessionAnswers,
        storage: StoreAccess,
        now_us: Callable[[], int],
        agent_version: str = "",
    ) -> None:
        self._answers = answers
        self._storage = storage
        self._now_us = now_us
        self._storing: set[asyncio.Task[None]] = set()
        self._agent_version = agent_version
        # Of the terms in use; None if they must be fetched whole.
        self.known_etag: str | None = None
        self._fetch = TermsFetch()
        self._failure: str | None = None
        self._is_missed = False
        self._faults: dict[str, TermsFault] = {}

    @property
    def refused(self) -> TermsFault | None:
        """The fault of the terms that central sends now; None if they are in use."""
        return next(reversed(self._faults.values()), None)

    @property
    def not_fetched(self) -> NotFetched | None:
        """The cause if central's terms were not fetched for a day, or never."""
        since_us = self._fetch.answered_at_us
        if self._failure is None:
            return None
        if since_us is not None and self._now_us() - since_us < MISSED_AFTER_US:
            return None
        return NotFetched(since_us, self._failure)

    @property
    def problem(self) -> str | None:
        """Why central's terms are not used, without their content; None if they are."""
        found = self.refused or self.not_fetched
        return None if found is None else str(found)

    @retry(retry=retry_if_exception_type(OutboxUnavailable), wait=wait_fixed(_RETRY_SECONDS))
    async def restore_when_open(self) -> None:
        """Apply the stored terms; retry every second until the storage is available."""
        self._fetch, stored = await self._read_stored()
        if self._fetch.fault is not None:
            self._faults[_PROGRAM] = self._fetch.fault
        for learned in stored:
            try:
                self._apply(learned)
            except (msgspec.MsgspecError, ValueError):
                # Written by another version. The configured terms apply until central answers.
                # Log only the prefix of the source: the channel in it is free text from a till.
                source = learned.source.partition(":")[0]
                log_event(_log, logging.WARNING, "terms.invalid", source=source)

    async def _read_stored(self) -> tuple[TermsFetch, list[LearnedTerms]]:
        storage = self._storage
        # Read through the writer: it opens, and if necessary migrates, the database first.
        try:
            return await storage.write_hot(read_fetch), await storage.write(read_terms)
        except OutboxUnavailable as error:
            if not isinstance(error.__cause__, StorageFullError):
                raise
        # It cannot be opened for writing, but its events can still be delivered.
        return await storage.read_hot(read_fetch), await storage.read(read_terms)

    def _apply(self, learned: LearnedTerms) -> None:
        if learned.source == _PROGRAM:
            self._answers.adopt(_usable(msgspec.json.decode(learned.terms, type=ProgramTerms)))
            # Another version left out members that this one may know: with the ETag, central would
            # answer "not modified" for ever.
            is_ours = learned.agent_version == self._agent_version
            self.known_etag = learned.etag if is_ours else None
        elif learned.source.startswith(_ANSWER):
            kind = msgspec.json.decode(learned.source.removeprefix(_ANSWER), type=SessionKind)
            # Earlier versions stored an empty channel as such. It counts as none.
            kind = replace(kind, channel=kind.channel or None)
            terms = _usable(msgspec.json.decode(learned.terms, type=SessionTerms))
            self._answers.learn(kind, terms)

    async def on_fetched(self, found: NewTerms | TermsFault | Blocked | RetryLater | None) -> None:
        """Adopt or refuse the terms of head office. Raises `OutboxUnavailable`."""
        match found:
            case NewTerms():
                await self.adopt(found.terms, found.etag)
            case TermsFault():
                self._refuse(_PROGRAM, found)
            case None:  # head office publishes the terms in use (again)
                self._faults.clear()
            case Blocked() | RetryLater():
                self._miss(found)
                return
        self._failure = None
        self._is_missed = False
        await self._note_answer()

    def _miss(self, failure: Blocked | RetryLater) -> None:
        """Note why the terms were not fetched; log it once they are overdue."""
        cause = failure.reason if isinstance(failure, Blocked) else failure.cause
        status = f" (HTTP {failure.http_status})" if failure.http_status else ""
        self._failure = f"{cause}{status}"
        if (missed := self.not_fetched) is not None and not self._is_missed:
            self._is_missed = True
            log_event(_log, logging.WARNING, "terms.not_fetched", reason=str(missed))

    async def _note_answer(self) -> None:
        """Store the time of the answer, about once an hour, and its fault when that changes."""
        before, now_us = self._fetch, self._now_us()
        fault = self._faults.get(_PROGRAM)
        is_recent = abs(now_us - (before.answered_at_us or 0)) < _NOTE_AFTER_US
        if not is_recent or fault != before.fault:
            self._fetch = TermsFetch(now_us, fault)
            await self._storage.write_hot(keep_fetch, self._fetch)

    async def adopt(self, terms: ProgramTerms, etag: str | None) -> None:
        """Apply and store the terms of head office. Raises `OutboxUnavailable`."""
        if fault := find_fault(terms):
            self._refuse(_PROGRAM, fault)
            return
        known = {name: texts for name, texts in terms.messages.items() if name in set(Locale)}
        terms = msgspec.structs.replace(terms, messages=known)
        self._answers.adopt(terms)
        self._faults.clear()
        self.known_etag = etag
        await self._store(LearnedTerms(_PROGRAM, _encoded(terms), etag, self._agent_version))
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

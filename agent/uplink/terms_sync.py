"""Applies program terms received from central and stores them for use while offline."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import msgspec
from tenacity import retry, retry_if_exception_type, wait_fixed

from agent.capture.session_answer import SessionAnswers
from agent.store.access import StoreAccess
from agent.store.crypto.bodies import may_hold_address
from agent.store.learned_terms import LearnedTerms, keep_terms, read_etag, read_terms
from sync.delivery.outbox import OutboxUnavailable
from sync.protocol.program_terms import ProgramTerms, SessionKind, SessionTerms
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
# Sources of stored terms: the program, or the answers of central to one kind of session.
_PROGRAM = "program"
_ANSWER = "answer:"
_RETRY_SECONDS = 1.0


class ProgramTermsSync:
    """Updates the answers to session starts. Not thread-safe; event loop only."""

    def __init__(
        self, answers: SessionAnswers, storage: StoreAccess, now_us: Callable[[], int]
    ) -> None:
        self._answers = answers
        self._storage = storage
        self._now_us = now_us
        self._storing: set[asyncio.Task[None]] = set()

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
            self._answers.adopt(msgspec.json.decode(learned.terms, type=ProgramTerms))
        elif learned.source.startswith(_ANSWER):
            kind = msgspec.json.decode(learned.source.removeprefix(_ANSWER), type=SessionKind)
            # Earlier versions stored an empty channel as such. It counts as none.
            kind = replace(kind, channel=kind.channel or None)
            self._answers.learn(kind, msgspec.json.decode(learned.terms, type=SessionTerms))

    async def known_etag(self) -> str | None:
        """Return the ETag of the last adopted terms. Raises `OutboxUnavailable`."""
        return await self._storage.read(read_etag, _PROGRAM)

    async def adopt(self, terms: ProgramTerms, etag: str | None) -> None:
        """Apply and store the terms of head office. Raises `OutboxUnavailable`."""
        try:
            self._answers.adopt(terms)
        except ValueError:
            _log_invalid(_PROGRAM)
            return
        await self._store(LearnedTerms(_PROGRAM, _encoded(terms), etag))
        log_event(_log, logging.INFO, "terms.adopted", etag=etag)

    def observe(self, kind: SessionKind, terms: SessionTerms) -> None:
        """Answer sessions of this kind as central answered one; store that in the background.

        Learned terms are stored unencrypted, so a channel that can contain an e-mail address
        is ignored.
        """
        if may_hold_address((kind.channel or "").encode()) or not self._answers.learn(kind, terms):
            return
        learned = LearnedTerms(_ANSWER + _encoded(kind), _encoded(terms))
        task = asyncio.ensure_future(self._store_observed(learned))
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def _store_observed(self, learned: LearnedTerms) -> None:
        try:
            await self._store(learned)
        except OutboxUnavailable as unavailable:
            log_event(_log, logging.WARNING, "terms.store_failed", reason=str(unavailable))

    async def _store(self, learned: LearnedTerms) -> None:
        await self._storage.write(keep_terms, learned, self._now_us())


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _log_invalid(source: str) -> None:
    log_event(_log, logging.WARNING, "terms.invalid", source=source)

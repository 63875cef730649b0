"""Applies program terms received from central and stores them for use while offline."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping

import msgspec

from agent.capture.central_terms import read_central_answer
from agent.capture.terms import Asked, ProgramTerms, SessionAnswers
from agent.capture.wire_terms import terms_of
from agent.store.access import StoreAccess
from agent.store.crypto.bodies import may_hold_address
from agent.store.learned_terms import LearnedTerms, keep_terms, read_etag, read_terms
from sync.delivery.outbox import OutboxUnavailable
from sync.delivery.transports.replay.terms_observer import SessionKind
from sync.protocol.locales import first_valid_locale
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
PROGRAM = "program"
_ANSWER = "answer:"
_AGAIN_SECONDS = 1.0


class ProgramTermsSync:
    """Updates the answers to session starts. Not thread-safe; event loop only."""

    def __init__(
        self,
        answers: SessionAnswers,
        configured: ProgramTerms,
        storage: StoreAccess,
        now_us: Callable[[], int],
    ) -> None:
        self._answers = answers
        self._configured = configured
        self._storage = storage
        self._now_us = now_us
        self._keeping: set[asyncio.Task[None]] = set()

    async def restore_when_open(self) -> None:
        """Apply the stored terms; retry every second until the storage is available."""
        while True:
            try:
                return await self._restore()
            except OutboxUnavailable:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _restore(self) -> None:
        # Read through the writer: it opens, and if necessary migrates, the database first.
        for learned in await self._storage.change(read_terms):
            try:
                self._take_up(learned)
            except (msgspec.MsgspecError, ValueError):
                # Written by another version. The configured terms apply until central answers.
                # Log only the prefix of the source: the channel in it is free text from a till.
                source = learned.source.partition(":")[0]
                log_event(_log, logging.WARNING, "program.not_understood", source=source)

    def _take_up(self, learned: LearnedTerms) -> None:
        if learned.source == PROGRAM:
            self._adopt(learned.terms.encode())
        elif learned.source.startswith(_ANSWER):
            kind = msgspec.json.decode(learned.source.removeprefix(_ANSWER), type=SessionKind)
            self._learn(kind, json.loads(learned.terms))

    async def known_etag(self) -> str | None:
        """Return the ETag of the last adopted program. Raises `OutboxUnavailable`."""
        return await self._storage.ask(lambda connection: read_etag(connection, PROGRAM))

    async def adopt(self, document: bytes, etag: str | None) -> None:
        """Apply and store `document`, JSON of `wire.Program`. Raises `OutboxUnavailable`."""
        if not self._adopt(document):
            log_event(_log, logging.WARNING, "program.not_understood", source="program")
            return
        await self._keep(LearnedTerms(PROGRAM, document.decode(), etag))
        log_event(_log, logging.INFO, "program.adopted", etag=etag)

    def heed(self, kind: SessionKind, terms: Mapping[str, object]) -> None:
        """Answer sessions of this kind as central answered one; store that in the background.

        Learned terms are stored unencrypted, so a channel that can contain an e-mail address
        is ignored.
        """
        kind = _without_words_of_tills(kind)
        if may_hold_address((kind.channel or "").encode()) or not self._learn(kind, terms):
            return
        source = _ANSWER + msgspec.json.encode(kind).decode()
        task = asyncio.ensure_future(self._keep_later(LearnedTerms(source, json.dumps(terms))))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    def _adopt(self, document: bytes) -> bool:
        terms = terms_of(document, self._configured)
        if terms is not None:
            self._answers.adopt(terms)
        return terms is not None

    def _learn(self, kind: SessionKind, terms: Mapping[str, object]) -> bool:
        answer = read_central_answer(json.dumps(terms).encode())
        if answer is None:
            return False
        locale = first_valid_locale([kind.locale])
        return self._answers.learn(Asked(kind.channel or None, locale, kind.is_anonymous), answer)

    async def _keep_later(self, learned: LearnedTerms) -> None:
        try:
            await self._keep(learned)
        except OutboxUnavailable as unavailable:
            log_event(_log, logging.WARNING, "program.not_kept", reason=str(unavailable))

    async def _keep(self, learned: LearnedTerms) -> None:
        await self._storage.change(
            lambda connection: keep_terms(connection, learned, self._now_us())
        )


def _without_words_of_tills(kind: SessionKind) -> SessionKind:
    """Return `kind` with its locale if supported, else without: bounds the number of kinds."""
    locale = first_valid_locale([kind.locale])
    return SessionKind(kind.channel, locale.value if locale else None, kind.is_anonymous)

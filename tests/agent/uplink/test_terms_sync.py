"""Learned program terms: stored, bounded, restored at start."""

import asyncio
import json
import logging
from pathlib import Path

import msgspec
import pytest

from agent.capture.terms import MOST_LEARNED, Asked, SessionAnswers
from agent.service import program_terms
from agent.store.learned_terms import LearnedTerms, keep_terms, read_terms
from agent.uplink.terms_sync import ProgramTermsSync
from sync.delivery.transports.replay.terms_observer import SessionKind
from sync.protocol.wire import Program, Rules, Texts
from sync.runtime.settings.program import ProgramSettings
from tests.support.agent.outbox import OutboxRig, outbox_on

CENTRAL_SAID = {
    "prompt": "EMAIL",
    "promptMessage": "Join?",
    "receiptMessage": "Join.",
    "redemptionRules": {
        "minRedeemPoints": 1,
        "minRedeemAmount": 1,
        "maxRedeemPoints": 1,
        "maxRedeemAmount": 1,
        "redeemIncrementPoints": 1,
        "redeemIncrementAmount": 1,
        "currency": "CAD",
    },
}


def news_on(rig: OutboxRig) -> tuple[ProgramTermsSync, SessionAnswers]:
    configured = program_terms(ProgramSettings())
    answers = SessionAnswers(configured)
    return ProgramTermsSync(answers, configured, rig.outbox.storage, rig.clock), answers


PROGRAM = msgspec.json.encode(
    Program(
        locale="en-CA",
        currency="CAD",
        prompt="EMAIL",
        rules=Rules(**dict.fromkeys(Rules.__struct_fields__, 1)),
        messages={"en-CA": Texts(prompt="Programme?", anonymous_prompt="", receipt="")},
    )
)


async def kept_sources(rig: OutboxRig) -> list[str]:
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    return [one.source for one in await rig.outbox.storage.change(read_terms)]


@pytest.mark.parametrize("word", ["channel", "locale"])
async def test_number_of_stored_terms_is_bounded_for_arbitrary_words_of_tills(
    tmp_path: Path, word: str
) -> None:
    async with outbox_on(tmp_path) as rig:
        news, _ = news_on(rig)
        for number in range(MOST_LEARNED + 10):
            words = {"channel": "STORE", "locale": None} | {word: f"word-{number}"}
            news.heed(SessionKind(**words, is_anonymous=False), CENTRAL_SAID)

        assert len(await kept_sources(rig)) == (MOST_LEARNED if word == "channel" else 1)


@pytest.mark.parametrize("word", ["channel", "locale"])
async def test_learned_terms_never_store_an_address_in_channel_or_locale(
    tmp_path: Path, word: str
) -> None:
    async with outbox_on(tmp_path) as rig:
        news, _ = news_on(rig)
        words = {"channel": None, "locale": None} | {word: "guest@example.com"}
        news.heed(SessionKind(**words, is_anonymous=False), CENTRAL_SAID)

        assert not [one for one in await kept_sources(rig) if "guest" in one]


async def test_latest_terms_win_after_a_change_of_protocol(
    tmp_path: Path,
) -> None:
    kind, asked = (
        SessionKind("STORE", None, is_anonymous=False),
        Asked("STORE", None, anonymous=False),
    )
    async with outbox_on(tmp_path) as rig:
        news, answers = news_on(rig)
        news.heed(kind, CENTRAL_SAID)
        await kept_sources(rig)
        rig.clock.pass_seconds(1)
        await news.adopt(PROGRAM, None)
        again, answers_again = news_on(rig)
        await again.restore_when_open()

    for one in (answers, answers_again):
        assert json.loads(one.answer("id", asked))["promptMessage"] == "Programme?"


async def test_stored_terms_of_another_version_are_skipped_without_logging_the_channel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = 'answer:{"channel":"guest@example.com","of":"the future"}'
    async with outbox_on(tmp_path) as rig:
        await rig.outbox.storage.change(
            lambda connection: keep_terms(connection, LearnedTerms(source, "{}"), 1)
        )
        configured = program_terms(ProgramSettings())
        news = ProgramTermsSync(
            SessionAnswers(configured), configured, rig.outbox.storage, rig.clock
        )

        with caplog.at_level(logging.WARNING):
            await news.restore_when_open()

    (record,) = [one for one in caplog.records if one.message == "program.not_understood"]
    assert record.__dict__["fields"] == {"source": "answer"}

"""What was learned of the program, taken up at a start."""

import logging
from pathlib import Path

import pytest

from agent.capture.program import SessionAnswers
from agent.program import ProgramNews
from agent.service import program_terms
from agent.store.program_terms import LearnedTerms, keep_terms
from sync.settings.program import ProgramSettings
from tests.agent.store.outbox_rig import outbox_on


async def test_terms_that_another_version_kept_are_passed_over_without_a_till_s_words_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = 'answer:{"channel":"guest@example.com","of":"the future"}'
    async with outbox_on(tmp_path) as rig:
        await rig.outbox.storage.change(
            lambda connection: keep_terms(connection, LearnedTerms(source, "{}"), 1)
        )
        configured = program_terms(ProgramSettings())
        news = ProgramNews(SessionAnswers(configured), configured, rig.outbox.storage, rig.clock)

        with caplog.at_level(logging.WARNING):
            await news.restore_when_open()

    (record,) = [one for one in caplog.records if one.message == "program.not_understood"]
    assert record.__dict__["fields"] == {"source": "answer"}

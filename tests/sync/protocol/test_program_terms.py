"""Program terms as agents fetch them, their ETag, and terms in the answers of central."""

import msgspec
import pytest

from sync.protocol.program_terms import ProgramTerms, published, session_terms
from sync.runtime.settings.program import ProgramSettings
from tests.bench.peers.terms import SESSION_ANSWER

DEFAULT = ProgramSettings()


def test_terms_equal_the_settings_in_every_locale() -> None:
    body, _ = published(DEFAULT.terms())

    program = msgspec.json.decode(body, type=ProgramTerms)
    assert program.messages.keys() == {"en-CA", "en-US", "fr-CA"}
    assert program.currency == DEFAULT.currency
    assert program.rules.min_redeem_points == DEFAULT.rules.min_redeem_points


def test_etag_is_the_same_in_every_process() -> None:
    assert published(DEFAULT.terms()) == published(ProgramSettings().terms())


def test_changed_terms_have_another_etag() -> None:
    other = ProgramSettings.model_validate(
        {"currency": "USD" if DEFAULT.currency == "CAD" else "CAD"}
    )

    assert published(other.terms())[1] != published(DEFAULT.terms())[1]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {name: value for name, value in SESSION_ANSWER.items() if name != "prompt"},
        SESSION_ANSWER | {"promptMessage": 7},
        SESSION_ANSWER | {"receiptMessage": "\0"},
    ],
)
def test_invalid_answer_of_central_has_no_terms(answer: dict[str, object]) -> None:
    assert session_terms(answer) is None

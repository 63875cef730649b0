"""Program terms as agents fetch them, their ETag."""

import msgspec

from sync.protocol.program_terms import ProgramTerms, published
from sync.runtime.settings.program import ProgramSettings

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

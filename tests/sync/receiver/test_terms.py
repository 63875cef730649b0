"""Program terms as agents fetch them; their ETag."""

import msgspec

from sync.protocol.wire import Program
from sync.receiver.program_terms import write_program
from sync.runtime.settings.program import ProgramSettings

DEFAULT = ProgramSettings()


def test_terms_equal_the_settings_in_every_locale() -> None:
    body, _ = write_program(DEFAULT)

    program = msgspec.json.decode(body, type=Program)
    assert program.messages.keys() == {"en-CA", "en-US", "fr-CA"}
    assert program.currency == DEFAULT.currency
    assert program.rules.min_redeem_points == DEFAULT.rules.min_redeem_points


def test_etag_is_the_same_in_every_process() -> None:
    assert write_program(DEFAULT) == write_program(ProgramSettings())


def test_changed_terms_have_another_etag() -> None:
    other = ProgramSettings.model_validate(
        {"currency": "USD" if DEFAULT.currency == "CAD" else "CAD"}
    )

    assert write_program(other)[1] != write_program(DEFAULT)[1]

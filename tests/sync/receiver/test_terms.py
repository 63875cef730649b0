"""The terms of the program as agents fetch them: their tag tells when they change."""

import msgspec

from sync.protocol.wire import Program
from sync.receiver.program_terms import write_program
from sync.runtime.settings.program import ProgramSettings

DEFAULT = ProgramSettings()


def test_terms_are_those_of_the_settings_in_every_locale() -> None:
    body, _ = write_program(DEFAULT)

    program = msgspec.json.decode(body, type=Program)
    assert program.messages.keys() == {"en-CA", "en-US", "fr-CA"}
    assert program.currency == DEFAULT.currency
    assert program.rules.min_redeem_points == DEFAULT.rules.min_redeem_points


def test_same_terms_have_the_same_tag_in_every_process() -> None:
    assert write_program(DEFAULT) == write_program(ProgramSettings())


def test_other_terms_have_another_tag() -> None:
    other = ProgramSettings.model_validate(
        {"currency": "USD" if DEFAULT.currency == "CAD" else "CAD"}
    )

    assert write_program(other)[1] != write_program(DEFAULT)[1]

"""Encodes the program terms for agents."""

import hashlib

import msgspec

from sync.protocol.wire import Program, Rules, Texts
from sync.runtime.settings.program import ProgramSettings


def write_program(settings: ProgramSettings) -> tuple[bytes, str]:
    """Return the terms as JSON, and their ETag."""
    program = Program(
        locale=settings.locale.value,
        currency=settings.currency,
        prompt=settings.prompt,
        rules=Rules(**settings.rules.model_dump()),
        messages={
            locale.value: Texts(**texts.model_dump())
            for locale, texts in settings.messages.by_locale().items()
        },
    )
    body = msgspec.json.encode(program)
    return body, hashlib.sha256(body).hexdigest()[:32]

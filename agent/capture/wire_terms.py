"""Convert the program document of central into `ProgramTerms`."""

from collections.abc import Mapping

import msgspec

from agent.capture.terms import Messages, ProgramTerms, RedemptionRules
from sync.protocol.locales import Locale
from sync.protocol.wire import Program, Rules, Texts

_decoder = msgspec.json.Decoder(Program)


def terms_of(document: bytes, present: ProgramTerms) -> ProgramTerms | None:
    """Return the terms in `document`, JSON of `sync.protocol.wire.Program`; None if it is invalid.

    Locales that the document does not contain keep their messages from `present`.
    """
    try:
        program = _decoder.decode(document)
        locale = Locale(program.locale)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return ProgramTerms(
        locale=locale,
        currency=program.currency,
        prompt=program.prompt,
        rules=_rules(program.rules),
        messages={one: _messages(one, program.messages, present) for one in Locale},
    )


def _rules(rules: Rules) -> RedemptionRules:
    return RedemptionRules(**msgspec.structs.asdict(rules))


def _messages(locale: Locale, spoken: Mapping[str, Texts], present: ProgramTerms) -> Messages:
    texts = spoken.get(locale.value)
    if texts is None:
        return present.messages[locale]
    return Messages(**msgspec.structs.asdict(texts))

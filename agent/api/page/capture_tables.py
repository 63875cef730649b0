"""The newest captures, without addresses, and those that head office rejected, with their retry."""

from html import escape

from agent.api.page.activity import LETTERS
from agent.api.page.markup import markup, table
from agent.api.responses import timestamp
from agent.api.status.words import Words
from agent.facts import DeliveryState
from agent.store.outbox.dead_letter_queue import DeadLetter
from agent.store.queries.capture_status import CaptureStatus
from sync.runtime.i18n import Language
from sync.runtime.masking import mask_secrets


def newest_part(captures: list[CaptureStatus] | None, say: Language) -> str:
    """Return the newest captures as a table; empty if the store cannot be read."""
    if captures is None:
        return ""
    heading = f"<h2>{escape(say('page.newest'))}</h2>"
    if not captures:
        return f"{heading}<p>{escape(say('page.no_captures'))}</p>"
    columns = [say(f"page.{name}") for name in ("time_column", "kind", "receipt", "state")]
    rows = [
        [
            _time(one.captured_at_us, say),
            escape(_kind(one, say)),
            f'<span class="receipt">{escape(str(one.receipt))}</span>',
            _state(one, say),
        ]
        for one in captures
    ]
    return heading + table(say("page.newest"), columns, rows, "stacked")


def refused_part(letters: list[DeadLetter] | None, say: Language) -> str:
    """Return the rejected captures, each with its reason and a retry; empty if there are none."""
    if letters is not None and not letters:
        return ""
    heading = f"<h2>{escape(say('page.refused'))}</h2>"
    if letters is None:
        return f"{heading}<p>{escape(say('page.refused_unreadable'))}</p>"
    names = ("when_refused", "receipt", "code", "why", "action")
    columns = [say(f"page.{name}") for name in names]
    rows = [_letter(one, say) for one in letters]
    more = say("page.refused_more", count=say.number(LETTERS))
    return (
        heading
        + table(say("page.refused"), columns, rows, "stacked")
        + (f"<p>{escape(more)}</p>" if len(letters) == LETTERS else "")
        + f'<p class="without-script">{escape(say("page.retry_plain"))}</p>'
    )


def _letter(letter: DeadLetter, say: Language) -> list[str]:
    receipt = escape(str(letter.receipt))
    return [
        _time(letter.refused_at_us, say),
        f'<span class="receipt">{receipt}</span>',
        f'<span class="code">{escape(letter.error_code)}</span>',
        _why(letter, say),
        _action(letter, receipt, say),
    ]


def _action(letter: DeadLetter, receipt: str, say: Language) -> str:
    if letter.stuck_since_us is not None:
        return f"{escape(say('page.stuck'))} {_button(receipt, say)}"
    return escape(say("page.retry_wanted")) if letter.retry_wanted else _button(receipt, say)


def _why(letter: DeadLetter, say: Language) -> str:
    """Return the meaning of the code and the message of head office."""
    name = f"refused_code.{letter.error_code}"
    known = say(name if say.has(name) and letter.error_code != "other" else "refused_code.other")
    return markup(f"{known} {say.quote(mask_secrets(letter.error_message))}")


def _button(receipt: str, say: Language) -> str:
    label = escape(say("page.retry_of", receipt=receipt))
    return (
        f'<button type="button" class="with-script" id="retry-{receipt}" data-retry="{receipt}"'
        f' aria-label="{label}">{escape(say("page.retry"))}</button>'
        f'<span class="without-script">-</span>'
    )


def _kind(capture: CaptureStatus, say: Language) -> str:
    if not capture.is_answer:
        return say("capture_kind.session")
    return say(f"capture_kind.{capture.status.value if capture.status else 'answer'}")


def _state(capture: CaptureStatus, say: Language) -> str:
    if capture.state is DeliveryState.DELIVERED and capture.delivered_at_us is not None:
        at = Words(say).time(timestamp(capture.delivered_at_us))
        return markup(say("capture_state.delivered_at", at=at))
    return escape(say(f"capture_state.{capture.state.value}"))


def _time(at_us: int, say: Language) -> str:
    return markup(Words(say).time(timestamp(at_us)))

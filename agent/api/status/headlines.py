"""Headlines of the status: one statement each, most important first, with the action required."""

import math
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from agent.api.status.document import (
    Members,
    lost_captures,
    names,
    number,
    places,
    section,
    sections,
)
from agent.api.status.words import Words, slug
from agent.facts import settings_missing_for_delivery
from sync.delivery.outcomes import NOT_ASKED, FailureCause


class Level(StrEnum):
    """Urgency of a headline: `WARNING` needs a look, `ALARM` needs an action now."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ALARM = "alarm"


class Headline(NamedTuple):
    """One statement on the state of the agent."""

    level: Level
    text: str


_RENEW_WITHIN_DAYS = 30
_DELIVERY_LEVELS = {
    "idle": Level.OK,
    "delivering": Level.OK,
    "quiet hours": Level.OK,
    "capture only": Level.NOTE,
    "retrying": Level.NOTE,
    "holding": Level.ALARM,
}
_DELIVERY_TEXTS = {"failing", "held", "not_taken", *_DELIVERY_LEVELS}
# Other failures may need an action: a certificate, the clock, the settings, the disk. A tuple: the
# JSON may hold an unhashable value.
_ANSWERED = (FailureCause.OVERLOADED, FailureCause.SERVER_ERROR)
_ENDS_BY_ITSELF = (
    FailureCause.NETWORK_DOWN,
    FailureCause.NO_CONNECTION,
    FailureCause.CENTRAL_DOWN,
    FailureCause.NO_RESPONSE,
    *_ANSWERED,
)


def recording(members: Members, words: Words) -> Headline:
    """Return whether captures are recorded."""
    storage = section(members, "storage")
    state, reason = str(storage.get("state")), storage.get("reason")
    text = words.choice("recording", state, "recording.unknown")
    level = Level.OK if state == "ready" else Level.ALARM
    return Headline(level, f"{text} {words.reason(reason)}" if reason else text)


def configuration(members: Members, words: Words) -> Iterator[Headline]:
    """Yield an alarm if the configuration is wrong and an older one is in use."""
    if rejected := section(members, "configurationRejected"):
        used, reason = words.time(rejected.get("inUseSince")), rejected.get("reason")
        narrowed = ", ".join(names(rejected, "narrowed"))
        name = "headline.configuration_narrowed" if narrowed else "headline.configuration"
        text = words.say(name, used=used, reason=words.reason(reason), settings=narrowed)
        yield Headline(Level.ALARM, text)


def losses(members: Members, words: Words) -> Iterator[Headline]:
    """Yield an alarm for the lost captures of each epoch, until head office accepts them."""
    say = words.say
    for lost in sections(members, "lost"):
        first, last = number(lost, "firstSequence"), number(lost, "lastSequence")
        count = lost_captures(lost)
        known = "some" if count is None else "one" if count == 1 else "many"
        text = say(
            f"lost.{'certain' if lost.get('isCertain') else 'possible'}_{known}",
            captures=words.captures(count or 0),
            range=say("lost.range", epoch=lost.get("epoch"), first=first, last=last),
            reason=words.reason(lost.get("reason")),
        )
        if at := lost.get("acknowledgedAt"):
            yield Headline(Level.NOTE, say("lost.accepted", lost=text, at=words.time(at)))
        else:
            yield Headline(Level.ALARM, say("lost.open", lost=text))


def machine(members: Members, words: Words) -> Iterator[Headline]:
    """Yield alarms on the port and on the name of the machine."""
    if taken := members.get("portTakenAt"):
        yield Headline(Level.ALARM, words.say("headline.port_taken", address=taken))
    if since := members.get("nameSharedSince"):
        text = words.say("headline.name_shared", since=words.time(since, str(since)))
        yield Headline(Level.ALARM, text)
    for certificate in sections(members, "certificates"):
        yield from _certificate(certificate, words)


def _certificate(certificate: Members, words: Words) -> Iterator[Headline]:
    days, file = certificate.get("daysLeft"), certificate.get("file")
    end = words.time(certificate.get("expiresAt"))
    if isinstance(days, int) and days < 0:
        yield Headline(Level.ALARM, words.say("headline.certificate_ended", file=file, end=end))
    elif isinstance(days, int) and days < _RENEW_WITHIN_DAYS:
        yield Headline(Level.WARNING, words.say("headline.certificate_ends", file=file, end=end))


def delivery(members: Members, words: Words) -> Headline:
    """Return the state of delivery."""
    say, sync = words.say, section(members, "sync")
    state, waiting = str(sync.get("state")), number(members, "waiting")
    if state in {"idle", "delivering"} and waiting == 0:
        is_all = not number(members, "deadLetters")
        return Headline(Level.OK, say("delivery.all" if is_all else "delivery.none_pending"))
    name, level = state, _DELIVERY_LEVELS.get(state, Level.NOTE)
    trouble = sync.get("trouble")
    if state == "retrying" and trouble not in _ENDS_BY_ITSELF:
        name, level = "failing", Level.WARNING if trouble else Level.NOTE
    elif state == "retrying" and trouble in _ANSWERED:
        name = "not_taken"
    elif state == "holding" and trouble in NOT_ASKED:
        name = "held"
    text = say(
        f"delivery.{slug(name) if name in _DELIVERY_TEXTS else 'other'}",
        state=state,
        cause=_cause(sync, words),
        pending=say("delivery.pending_unknown") if waiting is None else words.captures(waiting),
        next_try=_next_try(sync, words),
        name=say("name_in", till=members.get("tillId"), store=members.get("storeId")),
        unset=_unset(members, words),
    )
    return Headline(level, text)


def from_head_office(members: Members, words: Words) -> Iterator[Headline]:
    """Yield warnings on dead letters and program terms."""
    say = words.say
    if letters := number(members, "deadLetters"):
        text = say("headline.dead_letters", captures=words.captures(letters))
        yield Headline(Level.WARNING, text)
    if stuck := number(members, "stuck"):
        text = say("headline.stuck", captures=words.captures(stuck))
        yield Headline(Level.WARNING, text)
    if refused := section(members, "termsRefused"):
        fault = say.quote(f"{refused.get('field')} {refused.get('reason')}")
        yield Headline(Level.WARNING, say("headline.terms_refused", fault=fault))
    # While nothing can be delivered, the terms are not the news.
    is_cut_off = section(members, "sync").get("state") in ("holding", "retrying")
    if not is_cut_off and (missed := section(members, "termsNotFetched")):
        since, reason = words.time(missed.get("since"), ""), words.reason(missed.get("reason"))
        name = "headline.terms_missed" if since else "headline.terms_never"
        yield Headline(Level.WARNING, say(name, since=since, reason=reason))


def database(members: Members, words: Words) -> Iterator[Headline]:
    """Yield headlines on a new epoch, early purges, copies and quarantined databases."""
    say, storage = words.say, section(members, "storage")
    if began := section(members, "newEpoch"):
        at, reason = words.time(began.get("beganAt")), words.reason(began.get("reason"))
        yield Headline(Level.NOTE, say("headline.new_epoch", at=at, reason=reason))
    if early := section(storage, "earlyPurge"):
        text = say(
            "headline.early_purge",
            kept=words.days(early.get("keptDays")),
            usual=_usual(early.get("deliveredDays"), words),
            limit=early.get("limit"),
        )
        yield Headline(Level.WARNING, text)
    if rows := number(storage, "damagedRows"):
        yield Headline(Level.WARNING, say("headline.damaged_rows", count=say.number(rows)))
    if copies := words.copies(storage):
        yield Headline(Level.NOTE, say("headline.copies", names=", ".join(copies)))
    if set_aside := names(storage, "setAside"):
        text = _salvage(storage, set_aside, words)
        yield Headline(Level.WARNING, say("headline.quarantined", salvage=text))


def _usual(days: object, words: Words) -> str:
    return words.say.decimal(days) if isinstance(days, int | float) else words.unknown


def _salvage(storage: Members, set_aside: list[str], words: Words) -> str:
    """Return how far the quarantined databases are salvaged."""
    say, counts = words.say, section(storage, "salvage")
    if not counts or number(counts, "pending"):
        return say("salvage.pending", places=places(set_aside))
    done = say("salvage.done", salvaged=words.figure(number(counts, "salvaged")))
    if lost := number(counts, "unreadable"):
        done = say("salvage.unreadable", done=done, count=words.figure(lost))
    kept = names(storage, "setAsideKept")
    if waiting := [name for name in set_aside if name not in kept]:
        done = say("salvage.delivering", done=done, places=places(waiting))
    return say("salvage.kept", done=done, places=places(kept)) if kept else f"{done}."


def _unset(members: Members, words: Words) -> str:
    url = section(members, "central").get("url")
    missing = settings_missing_for_delivery(
        str(members.get("storeId")), str(members.get("tillId")), url if isinstance(url, str) else ""
    )
    *others, last = missing or [""]
    settings = words.say("delivery.and", others=", ".join(others), last=last) if others else last
    name = "many" if others else "one" if last else "none"
    return words.say(f"unset.{name}", settings=settings)


def _cause(sync: Members, words: Words) -> str:
    trouble, detail = sync.get("trouble"), sync.get("detail")
    cause = words.cause(trouble) if trouble else words.say("delivery.no_cause")
    return f"{cause} ({words.reason(detail)})" if detail else cause


def _next_try(sync: Members, words: Words) -> str:
    seconds = sync.get("nextTryInSeconds")
    if not isinstance(seconds, int | float):
        return ""
    return words.say("delivery.next_try", seconds=math.ceil(seconds))

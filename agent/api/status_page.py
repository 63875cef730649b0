"""HTML status page for store IT; no script, no external resources."""

import base64
import hashlib
import math
from collections.abc import Iterator
from html import escape
from string import Template

from agent.api.delivery import CAPTURE_ONLY, SyncReport
from agent.api.status import StatusReport, StorageReport
from sync.delivery.delivery_status import LoopState

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:44rem;padding:0 1rem;
color:#1a1a1a;background:#fff;overflow-wrap:anywhere}
h1{font-size:1.4rem;line-height:1.3}
p.state{font-size:1.2rem;padding:.6rem 1rem;border-left:.5rem solid}
p.ready{border-color:#1b7a3d;background:#eaf6ee}
p.alarm{border-color:#b3261e;background:#fdecea}
p.note{border-color:#a86400;background:#fff4e0}
dl{margin:0}dl div{display:flex;gap:1rem;padding:.35rem 0;border-bottom:1px solid #ddd}
dt{flex:0 0 15rem;font-weight:600}dd{margin:0}
p.foot{color:#595959}
@media(max-width:36rem){body{margin:1rem auto}dl div{display:block}}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}dl div{border-color:#444}
p.ready{border-color:#4caf73;background:#12301d}
p.alarm{border-color:#f2786f;background:#3a1512}
p.note{border-color:#e0a030;background:#33270f}p.foot{color:#aaa}}
"""
_POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Loyalty agent: $till</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="refresh" content="10"><style>$style</style></head>
<body><main><h1>Loyalty agent of $till in $store</h1>
$notices
<dl>$rows</dl>
<p class="foot">This page asks again every 10 seconds.</p></main></body></html>
"""
)
_CAPTURES = {
    "ready": ("ready", "Captures are taken and kept on this machine."),
    "full": ("alarm", "Captures are refused: there is no room for them."),
    "down": ("alarm", "Captures are refused: the storage does not work."),
}
_REFUSED = (
    "Head office refuses this machine: nothing is delivered until somebody mends that, see "
    "Delivery below. No capture is lost, they wait here."
)
_DEAD_LETTERS = (
    "Captures that head office refused for good: {:,}. What it said of each, and a way to send "
    "it again: loyalty-agent dead-letters list"
)
_SET_ASIDE = (
    "Damaged databases that were set aside: {}. What they hold and was not delivered yet is in "
    "them alone: keep them."
)
_DELIVERY = {
    CAPTURE_ONLY: "captures are kept here and sent nowhere",
    LoopState.IDLE: "nothing stands in the way",
    LoopState.DELIVERING: "on the way to head office",
    LoopState.QUIET: "waits for the end of the quiet hours",
    LoopState.RETRYING: "head office is not reached",
    LoopState.HOLDING: "head office refuses this machine",
}
_NOT_KNOWN = "not known now"
_GIB = 1024**3


def status_page(report: StatusReport) -> tuple[str, str]:
    """Return the page and the `Content-Security-Policy` that goes with it."""
    page = _PAGE.substitute(
        style=_STYLE,
        till=escape(report["tillId"]),
        store=escape(report["storeId"]),
        notices="\n".join(_notice(kind, text) for kind, text in _notices(report)),
        rows="".join(_row(name, value) for name, value in _figures(report)),
    )
    return page, _POLICY


def _notices(report: StatusReport) -> Iterator[tuple[str, str]]:
    """Yield the notices (kind, text) at the top of the page, with the action required."""
    yield _CAPTURES[report["storage"]["state"]]
    if report["sync"]["state"] == LoopState.HOLDING:
        yield "alarm", _REFUSED
    if report["sync"]["state"] == LoopState.RETRYING:
        yield "note", "Head office is not reached: captures wait here, and are sent by themselves."
    if letters := report["deadLetters"]:
        yield "note", _DEAD_LETTERS.format(letters)
    if aside := report["storage"]["setAside"]:
        yield "note", _SET_ASIDE.format(len(aside))


def _notice(kind: str, text: str) -> str:
    return f'<p class="state {kind}" role="status">{escape(text)}</p>'


def _figures(report: StatusReport) -> list[tuple[str, str]]:
    storage = report["storage"]
    return [
        *([("What is wrong", storage["reason"])] if "reason" in storage else []),
        ("Delivery", _delivery(report["sync"])),
        ("Last delivery", _last_delivery(report["sync"])),
        ("Waiting for head office", _count(report["waiting"])),
        ("Oldest of them", _oldest(report)),
        ("Refused by head office", _count(report["deadLetters"])),
        ("Last capture number", _count(report["lastSequence"])),
        ("Head office", report["central"]["url"] or "not set: captures are kept here"),
        ("Database", _size(storage["databaseBytes"])),
        ("Free disk space", _size(storage["freeBytes"])),
        ("Kept in", storage["directory"]),
        ("Databases set aside", _set_aside(storage)),
        ("Running since", _moment(report["startedAt"])),
        ("Version", report["version"]),
        ("Epoch", report["epoch"] or _NOT_KNOWN),
    ]


def _delivery(sync: SyncReport) -> str:
    """Return the delivery state in one line, with the reason if captures are not delivered."""
    text = _DELIVERY[sync["state"]]
    if sync["trouble"] is not None:
        text += f": {sync['trouble']}"
    if sync["detail"]:
        text += f" ({sync['detail']})"
    if sync["nextTryInSeconds"] is not None:
        text += f"; next try in {math.ceil(sync['nextTryInSeconds'])} s"
    return text


def _last_delivery(sync: SyncReport) -> str:
    at = sync["lastDeliveryAt"]
    return "none since the start" if at is None else _moment(at)


def _row(name: str, text: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>"


def _count(count: int | None) -> str:
    if count is None:
        return _NOT_KNOWN
    return f"{count:,}" if count else "none"


def _oldest(report: StatusReport) -> str:
    if report["oldestWaitingAt"] is not None:
        return _moment(report["oldestWaitingAt"])
    return _NOT_KNOWN if report["waiting"] is None else "none"


def _set_aside(storage: StorageReport) -> str:
    if storage["setAside"]:
        return ", ".join(storage["setAside"])
    return _NOT_KNOWN if storage["databaseBytes"] is None else "none"


def _moment(timestamp: str) -> str:
    """Format `2026-01-01T00:00:00.000Z` as `2026-01-01 00:00:00 UTC`."""
    date, _, time = timestamp.partition("T")
    return f"{date} {time[:8]} UTC"


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return _NOT_KNOWN
    if size_bytes < _GIB:
        return f"{size_bytes / 1024**2:.1f} MiB"
    return f"{size_bytes / _GIB:,.1f} GiB"

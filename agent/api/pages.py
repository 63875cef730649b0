"""The status page for store IT: one look, no script, nothing from elsewhere."""

import base64
import hashlib
from html import escape
from string import Template

from agent.api.status import StatusReport

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:44rem;padding:0 1rem;
color:#1a1a1a;background:#fff}
h1{font-size:1.4rem}p.state{font-size:1.2rem;padding:.6rem 1rem;border-left:.5rem solid}
p.ready{border-color:#1b7a3d;background:#eaf6ee}
p.full,p.down{border-color:#b3261e;background:#fdecea}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .8rem .35rem 0;
border-bottom:1px solid #ddd;vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600;width:16rem}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}th,td{border-color:#444}
p.ready{background:#12301d}p.full,p.down{background:#3a1512}}
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
<p class="state $state" role="status">$verdict</p>
<table><caption hidden>State in figures</caption>$rows</table></main></body></html>
"""
)
_VERDICTS = {
    "ready": "Captures are taken and kept on this machine.",
    "full": "Captures are refused: there is no room for them.",
    "down": "Captures are refused: the storage does not work.",
}


def status_page(report: StatusReport) -> tuple[str, str]:
    """Return the page and the `Content-Security-Policy` that goes with it."""
    storage = report["storage"]
    page = _PAGE.substitute(
        style=_STYLE,
        till=escape(report["tillId"]),
        store=escape(report["storeId"]),
        state=storage["state"],
        verdict=escape(_VERDICTS[storage["state"]]),
        rows="".join(_row(name, value) for name, value in _figures(report)),
    )
    return page, _POLICY


def _figures(report: StatusReport) -> list[tuple[str, object]]:
    storage = report["storage"]
    return [
        *([("What is wrong", storage["reason"])] if "reason" in storage else []),
        ("Waiting for head office", report["waiting"]),
        ("Oldest of them", report["oldestWaitingAt"]),
        ("Refused by head office", report["deadLetters"]),
        ("Last capture", report["lastSequence"]),
        ("Head office", report["central"]["url"] or "not set: captures are kept here"),
        ("Database", _size(storage["databaseBytes"])),
        ("Free disk space", _size(storage["freeBytes"])),
        ("Kept in", storage["directory"]),
        ("Damaged databases set aside", ", ".join(storage["setAside"]) or "none"),
        ("Running since", report["startedAt"]),
        ("Version", report["version"]),
        ("Epoch", report["epoch"]),
    ]


def _row(name: str, value: object) -> str:
    return f'<tr><th scope="row">{escape(name)}</th><td>{escape(_shown(value))}</td></tr>'


def _shown(value: object) -> str:
    return "\N{EM DASH}" if value is None else str(value)


def _size(size_bytes: int | None) -> str | None:
    return None if size_bytes is None else f"{size_bytes / 1024**2:,.1f} MiB"

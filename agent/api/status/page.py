"""HTML status page for store IT; no script, no external resources."""

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from string import Template

from agent.api.status.view import Headline, Status

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:44rem;padding:0 1rem;
color:#1a1a1a;background:#fff;overflow-wrap:anywhere}
h1{font-size:1.4rem;line-height:1.3}h2{font-size:1.1rem;margin:1.5rem 0 0}
p.state{font-size:1.2rem;padding:.6rem 1rem;border-left:.5rem solid}
p.ok{border-color:#1b7a3d;background:#eaf6ee}
p.alarm{border-color:#b3261e;background:#fdecea}
p.warning,p.note{border-color:#a86400;background:#fff4e0}
dl{margin:0}dl div{display:flex;gap:1rem;padding:.35rem 0;border-bottom:1px solid #ddd}
dt{flex:0 0 15rem;font-weight:600}dd{margin:0}
p.foot{color:#595959}
@media(max-width:36rem){body{margin:1rem auto}dl div{display:block}}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}dl div{border-color:#444}
p.ok{border-color:#4caf73;background:#12301d}
p.alarm{border-color:#f2786f;background:#3a1512}
p.warning,p.note{border-color:#e0a030;background:#33270f}p.foot{color:#aaa}}
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
<body><main><h1>Loyalty agent of $till in store $store</h1>
$headlines
$figures
<p class="foot">Refreshed every 10 seconds.</p></main></body></html>
"""
)


def status_page(members: Mapping[str, object]) -> tuple[str, str]:
    """Return the page for a status document, and its `Content-Security-Policy`."""
    status = Status(members)
    till, store = status.title()
    page = _PAGE.substitute(
        style=_STYLE,
        till=escape(till),
        store=escape(store),
        headlines="\n".join(_headline(one) for one in status.headlines()),
        figures="\n".join(_group(*group) for group in status.figures().items()),
    )
    return page, _POLICY


def _headline(headline: Headline) -> str:
    return f'<p class="state {headline.level}" role="status">{escape(headline.text)}</p>'


def _group(title: str, figures: Mapping[str, str]) -> str:
    rows = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>"
        for name, text in figures.items()
    )
    return f"<h2>{escape(title)}</h2>\n<dl>{''.join(rows)}</dl>"

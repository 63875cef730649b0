"""HTML of the status page: complete without its script.

The script reads the page again and replaces the parts (`data-part`) that have changed. Nothing is
inline: the policy allows files of the agent only.
"""

from collections.abc import Mapping
from html import escape
from string import Template

from agent.api.page.activity import Activity
from agent.api.page.capture_tables import newest_part, refused_part
from agent.api.page.markup import markup
from agent.api.page.plots import day_part
from agent.api.status.document import Members
from agent.api.status.headlines import Headline
from agent.api.status.view import Status
from agent.api.status.words import Words
from sync.runtime.i18n import Language

_PAGE = Template(
    """<!DOCTYPE html>
<html lang="$language"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/page/page.css"><script src="/page/page.js" defer></script></head>
<body><main><h1>$heading</h1>
<p class="state alarm" role="alert" id="silent" hidden>$silent</p>
<p class="unseen" role="status" id="said" $outcomes></p>
$parts
<p class="foot"><a class="button" href="/">$again</a> <span class="without-script">$foot_utc</span>
<span class="with-script">$foot_local</span></p></main>
<dialog id="confirm" aria-labelledby="question"><form method="dialog">
<p id="question">$confirm</p><p class="receipt" id="of"></p>$token
<p><button value="yes">$confirm_yes</button> <button value="no">$confirm_no</button></p>
</form></dialog></body></html>
"""
)
_ADMIN_FIELD = """<p><label for="token">{}</label>
<input id="token" type="password" autocomplete="off"></p>"""
_NO_TIME = '<time datetime=""></time>'


def status_page(
    members: Members, activity: Activity, say: Language, now: str, *, needs_token: bool
) -> str:
    """Return the page for a status document and the activity, as of `now`."""
    status = Status(members, say)
    till, store = status.title()
    words = ("again", "foot_utc", "confirm", "confirm_yes", "confirm_no")
    zone = '<span class="zone"></span>'
    return _PAGE.substitute(
        {name: escape(say(f"page.{name}")) for name in words},
        language=say.code,
        title=escape(say("page.title", till=till)),
        heading=escape(say("page.heading", till=till, store=store)),
        silent=escape(say("page.silent", at="\0")).replace("\0", _NO_TIME),
        outcomes=_outcomes(say),
        parts=_parts(status, activity, say, now),
        foot_local=escape(say("page.foot_local", zone="\0")).replace("\0", zone),
        token=_ADMIN_FIELD.format(escape(say("page.confirm_token"))) if needs_token else "",
    )


def _parts(status: Status, activity: Activity, say: Language, now: str) -> str:
    as_of = say("page.as_of", at=Words(say).time(now))
    figures = "".join(_group(*group) for group in status.figures().items())
    parts = {
        "headlines": "\n".join(map(_headline, status.headlines())),
        "as-of": f'<p class="faint">{markup(as_of)}</p>',
        "refused": refused_part(activity.letters, say),
        "day": day_part(activity.day, say),
        "newest": newest_part(activity.newest, say),
        "figures": f'<div class="figures">{figures}</div>',
    }
    return "\n".join(f'<div id="{name}" data-part>{html}</div>' for name, html in parts.items())


def _outcomes(say: Language) -> str:
    """Return the sentences that the script says after a retry."""
    names = ("done", "token", "gone", "failed")
    return " ".join(f'data-{name}="{escape(say(f"page.retry_{name}"))}"' for name in names)


def _headline(headline: Headline) -> str:
    return f'<p class="state {headline.level}">{markup(headline.text)}</p>'


def _group(title: str, figures: Mapping[str, str]) -> str:
    rows = (
        f"<div><dt>{escape(name)}</dt><dd>{markup(text)}</dd></div>"
        for name, text in figures.items()
    )
    return f"<section><h2>{escape(title)}</h2>\n<dl>{''.join(rows)}</dl></section>"

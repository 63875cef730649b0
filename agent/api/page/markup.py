"""HTML of texts: escaped, times as `<time>`, quotations marked as English."""

import re
from html import escape

from sync.runtime.i18n import CLOSE_QUOTE, OPEN_QUOTE

_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC", re.ASCII)
_QUOTED = re.compile(f"{OPEN_QUOTE}(.*?){CLOSE_QUOTE}", re.DOTALL)


def markup(text: str) -> str:
    """Return the HTML of a text; the page's script shows its times in the reader's time zone."""
    quoted = rf'{OPEN_QUOTE}<span lang="en">\1</span>{CLOSE_QUOTE}'
    marked = _QUOTED.sub(quoted, escape(text))
    return _TIME.sub(r'<time datetime="\1T\2Z">\1 \2 UTC</time>', marked)


def table(caption: str, columns: list[str], rows: list[list[str]], css: str = "") -> str:
    """Return a table of cells that are HTML; the first one of a row is its heading."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    named = [
        [
            f'<td data-name="{escape(name)}">{cell}</td>'
            for name, cell in zip(columns, row, strict=True)
        ]
        for row in rows
    ]
    for row, cells in zip(rows, named, strict=True):
        cells[0] = f'<th scope="row">{row[0]}</th>'
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in named)
    hidden = f'<caption class="unseen">{escape(caption)}</caption>'
    return (
        f'<table class="{css}">{hidden}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )

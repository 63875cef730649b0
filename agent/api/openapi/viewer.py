"""`GET /docs`: the OpenAPI document in Swagger UI, served from the package.

Of six viewers tried under this policy it is the one that works: Redoc, RapiDoc, OpenAPI Explorer,
Scalar and Elements need inline styles, and Scalar calls home. It costs 1.9 MB of the package, which
only this page reads. Versions and licences are beside it in `static/`.
"""

from pathlib import Path

from aiohttp import web

from agent.api.responses import Operation
from agent.api.static_files import POLICY, StaticFiles

_SCRIPTS = ("swagger-ui-bundle-5.35.0.js", "docs.js")
_STYLES = ("swagger-ui-5.35.0.css", "docs.css")
ASSETS = "/docs/{name}"
FILES = StaticFiles(Path(__file__).parent / "static", (*_SCRIPTS, *_STYLES))
_PAGE = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Loyalty agent: the till API</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
{"".join(f'<link rel="stylesheet" href="/docs/{name}">' for name in _STYLES)}
</head><body><div id="docs"><noscript>This page needs JavaScript. The same document:
<a href="/openapi.json">/openapi.json</a>.</noscript></div>
{"".join(f'<script src="/docs/{name}"></script>' for name in _SCRIPTS)}
</body></html>
"""


@Operation("text/html")
async def show_docs(_: web.Request) -> web.Response:
    """Return the page that shows the OpenAPI document."""
    return web.Response(
        text=_PAGE, content_type="text/html", headers={"Content-Security-Policy": POLICY}
    )

"""`GET /` and the files of the page."""

from pathlib import Path

from aiohttp import hdrs, web

from agent.api.context import CONTEXT
from agent.api.page.activity import ActivityReader
from agent.api.page.page import status_page
from agent.api.responses import Operation, timestamp
from agent.api.static_files import POLICY, StaticFiles
from agent.api.status.health import read_health
from agent.api.status.report import status_report
from agent.languages.catalogue import language_of_request

ACTIVITY = web.AppKey("activity", ActivityReader)
ASSETS = "/page/{name}"
FILES = StaticFiles(Path(__file__).parent / "static", ("page.js", "page.css"))


@Operation("text/html")
async def show_page(request: web.Request) -> web.Response:
    """Return the status as an HTML page for people, in English or French."""
    context = request.app[CONTEXT]
    language = language_of_request(request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))
    page = status_page(
        status_report(context, await read_health(context)),
        await request.app[ACTIVITY].read(),
        language,
        timestamp(context.now().wall_us),
        needs_token=context.access.needs_admin_token,
    )
    headers = {
        "Content-Security-Policy": POLICY,
        hdrs.CONTENT_LANGUAGE: language.code,
        hdrs.VARY: hdrs.ACCEPT_LANGUAGE,
    }
    return web.Response(text=page, content_type="text/html", headers=headers)

"""Scripts and styles of the agent's pages, and the policy of a page that uses only these."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_TYPES = {".js": "text/javascript", ".css": "text/css"}


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """The files of a directory that may be served, by name."""

    directory: Path
    names: tuple[str, ...]

    async def show(self, request: web.Request) -> web.Response:
        """Return a script or style."""
        name = request.match_info["name"]
        if name not in self.names:
            raise web.HTTPNotFound
        file = self.directory / name
        body = await asyncio.to_thread(file.read_bytes)
        return web.Response(body=body, content_type=_TYPES[file.suffix], charset="utf-8")

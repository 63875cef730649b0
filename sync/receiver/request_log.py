"""Log of refused requests: reason and sender; summed, because any sender can cause many."""

import logging
import re
import shutil
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from sync.protocol.wire import ErrorCode
from sync.receiver.auth.authenticate import sender_of
from sync.receiver.auth.peers import Peers
from sync.receiver.db.health.outage import FULL, outage_cause, outage_reason
from sync.runtime.masking import mask_path, mask_secrets
from sync.runtime.network.http_errors import HttpError, log_error
from sync.runtime.network.http_server import route_of
from sync.runtime.printable import printable
from sync.runtime.summed_log import SummedLogs

_log = logging.getLogger(__name__)
_OTHERS = {"peer": "others", "store": "others", "till": "others"}
_MAX_REASON, _MAX_PATH, _MAX_PEER, _MAX_CAUSE = 200, 200, 100, 500
# Values that a message quotes from the request.
_QUOTED = re.compile(r"'[^']*'")
_WITH_PATH = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
_METHOD = re.compile("[A-Z]{1,16}", re.ASCII)


class RequestLog:
    """Logs `request.refused`. Not thread-safe; event loop only.

    The first of a sender, endpoint and code at once, then one line a minute with the number, which
    bears the last reason. `database`: the file of an embedded database.
    """

    def __init__(self, peers: Peers, database: Path | None) -> None:
        self._peers = peers
        self._disk = database and database.parent
        self._refused = SummedLogs(_log, "request.refused", logging.INFO)
        self._failed = SummedLogs(_log, "request.refused", logging.ERROR)

    def note(self, request: web.BaseRequest, refusal: HttpError, cause: Exception) -> None:
        """Log or count a request that was answered with `refusal`, converted from `cause`."""
        route, sender = route_of(request), self._sender(request)
        if refusal.code is ErrorCode.INTERNAL_ERROR:
            log_error(refusal, cause, f"{request.method} {route}", **sender)
            return
        code, status = refusal.code.value, refusal.status.value
        fields: dict[str, object] = {"code": code, "route": route, "status": status, **sender}
        is_outage = refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        fields |= self._outage(refusal, cause) if is_outage else _reason(refusal)
        if refusal.status in _WITH_PATH:
            # Masked first: a cut could leave half an address.
            fields["path"] = mask_path(request.rel_url.raw_path)[:_MAX_PATH]
            fields["method"] = request.method if _METHOD.fullmatch(request.method) else "-"
        kind = (route, code, status)
        key = (*kind, *sender.values())
        logs = self._failed if is_outage else self._refused
        logs.count(key, kind=kind, fields=fields, of_others=_OTHERS, times=1)

    def close(self) -> None:
        """Log the sums that are left. Idempotent."""
        self._refused.close()
        self._failed.close()

    def _sender(self, request: web.BaseRequest) -> dict[str, str]:
        """Return the peer, and the till whose token was accepted; a claim proves nothing."""
        named = {"peer": printable(self._peers.address_of(request), _MAX_PEER) or "-"}
        if (agent := sender_of(request)) is not None:
            named |= {"store": agent.store_id, "till": agent.till_id}
        return named

    def _outage(self, refusal: HttpError, cause: Exception) -> dict[str, object]:
        """Return the reason of a 5xx; on a full disk with the space that is left."""
        error = cause.__cause__ if isinstance(cause, HttpError) else cause
        if not isinstance(error, Exception):
            return _reason(refusal)
        reason = outage_reason(error)
        if (cause_of_outage := outage_cause(error)) is not None:
            return {"reason": reason, "cause": printable(cause_of_outage, _MAX_CAUSE)}
        if reason != FULL or self._disk is None:
            return {"reason": reason}
        free_bytes = shutil.disk_usage(self._disk).free
        return {"reason": reason, "free_bytes": free_bytes, "disk": str(self._disk)}


def _reason(refusal: HttpError) -> dict[str, object]:
    words = refusal.reason or _QUOTED.sub("[...]", refusal.message)
    return {"reason": printable(mask_secrets(words), _MAX_REASON)}

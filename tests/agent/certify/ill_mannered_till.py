"""Tills with one bad manner each: MANNER, TIME_OUT and URL are the arguments; makes one sale."""

import http.client
import json
import sys
import time
import urllib.parse
import uuid

MANNER, TIME_OUT, URL = sys.argv[1:4]
# A till without a time-out waits for as long as the connection lasts.
ANSWER_SECONDS = None if MANNER == "no-time-out" else float(TIME_OUT)
ATTEMPTS = {"hammers": 40, "gives-up-at-once": 1}.get(MANNER, 2)
PAUSE_SECONDS = 0.3
PLACE = urllib.parse.urlsplit(URL).netloc


def call(method: str, path: str, body: str) -> int:
    """Return the status of the answer, 0 if none came."""
    connection = http.client.HTTPConnection(PLACE, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
    return answer.status


def attempts(method: str, path: str, members: dict[str, object]) -> int:
    status = 0
    for attempt in range(ATTEMPTS):
        if MANNER == "changes-body":
            members["externalIdentifier"] = f"attempt {attempt}"
        if MANNER == "changes-id" and method == "POST":
            members["correlationId"] = str(uuid.uuid4())
        status = call(method, path, json.dumps(members))
        if status and status < 500 and MANNER != "hammers":
            return status
        time.sleep(0 if MANNER == "hammers" else PAUSE_SECONDS)
    return status


def sell() -> int:
    sale = "always-the-same" if MANNER == "one-id-for-all" else str(uuid.uuid4())
    start: dict[str, object] = {"correlationId": sale, "channel": "STORE"}
    status = attempts("POST", "/client/users/anonymous/sessions", start)
    if status == 200:
        answer: dict[str, object] = {"status": "accepted", "emailAddress": "guest@example.com"}
        path = f"/client/users/{start['correlationId']}/profile/email"
        status = attempts("PUT", path, answer)
    return 1 if MANNER == "stops-the-sale" and status != 200 else 0


sys.exit(sell())

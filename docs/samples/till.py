"""A till's two loyalty calls in one sale. Python 3.8 or later, standard library only."""

import http.client
import json
import sys
import time
import urllib.parse
import uuid

CONNECT_SECONDS, ANSWER_SECONDS, PAUSE_SECONDS, ATTEMPTS = 1, 3, 1, 2


class Agent:
    """The loyalty agent of this machine, on one connection that is kept from call to call."""

    def __init__(self, url):
        place = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(
            place.hostname, place.port, timeout=CONNECT_SECONDS
        )

    def call(self, method, path, members):
        """Return the answer, or None: the sale goes on without loyalty."""
        body = json.dumps(members)  # made once: a repeat has the same id and the same body
        for attempt in range(ATTEMPTS):
            time.sleep(attempt * PAUSE_SECONDS)
            try:
                if self.connection.sock is None:
                    self.connection.connect()
                    self.connection.sock.settimeout(ANSWER_SECONDS)
                self.connection.request(method, path, body)
                answer = self.connection.getresponse()
                content = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.connection.close()  # answered or not: the repeat finds out
                print(f"no answer ({error!r})", file=sys.stderr)
                continue
            if answer.status == 200:
                print("Receipt:", answer.headers["Loyalty-Receipt"])
                return content
            print(answer.status, answer.headers["Loyalty-Reason"], file=sys.stderr)
            if answer.status < 500:
                return None  # the request is wrong: a repeat would be as well
        return None


def sell(agent):
    sale = str(uuid.uuid4())
    start = {"correlationId": sale, "channel": "STORE", "locale": "fr-CA"}
    session = agent.call("POST", "/client/users/anonymous/sessions", start)
    if session:
        print("Ask:", session["promptMessage"])
        answer = {"status": "accepted", "emailAddress": "guest@example.com"}
        agent.call("PUT", f"/client/users/{sale}/profile/email", answer)
        print("Print:", session["receiptMessage"])
    print("Sold.")


sell(Agent(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8480"))

// A till's two loyalty calls in one sale. Node.js 18 or later, or a page of `cors_origins`.

const ANSWER_MS = 3000, PAUSE_MS = 1000, ATTEMPTS = 2;
const url = globalThis.process?.argv[2] ?? "http://127.0.0.1:8480";

/** Return the agent's answer, or null: the sale goes on without loyalty. */
async function call(method, path, members) {
  const body = JSON.stringify(members); // made once: a repeat has the same id and the same body
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    await new Promise((resume) => setTimeout(resume, PAUSE_MS * attempt));
    let answer, content;
    try {
      // fetch keeps the connection. The signal ends the connecting as well as the waiting.
      answer = await fetch(url + path, { method, body, signal: AbortSignal.timeout(ANSWER_MS) });
      content = await answer.json();
    } catch (error) {
      console.error(`no answer (${error.cause?.code ?? error.name})`); // the repeat finds out
      continue;
    }
    if (answer.status === 200) {
      console.log("Receipt:", answer.headers.get("Loyalty-Receipt"));
      return content;
    }
    console.error(answer.status, answer.headers.get("Loyalty-Reason"));
    if (answer.status < 500) return null; // the request is wrong: a repeat would be as well
  }
  return null;
}

async function sell() {
  const sale = crypto.randomUUID();
  const start = { correlationId: sale, channel: "STORE", locale: "fr-CA" };
  const session = await call("POST", "/client/users/anonymous/sessions", start);
  if (session) {
    console.log("Ask:", session.promptMessage);
    const answer = { status: "accepted", emailAddress: "guest@example.com" };
    await call("PUT", `/client/users/${sale}/profile/email`, answer);
    console.log("Print:", session.receiptMessage);
  }
  console.log("Sold.");
}

await sell();

/* Reads the page again every 5 seconds and replaces the parts that have changed; shows times in the
   reader's time zone; sends a rejected capture again after a question. Without it the page is whole,
   as of when it was loaded. */
"use strict";
(() => {
  const EVERY_MS = 5000;
  const TIMEOUT_MS = 8000;
  const RESULT_MS = 15000;
  const language = document.documentElement.lang;
  const own = navigator.languages.find((one) => one.split("-")[0].toLowerCase() === language);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const full = format({ dateStyle: "medium", timeStyle: "medium" });
  const short = format({ hour: "numeric", minute: "2-digit" });
  const silent = document.getElementById("silent");
  const said = document.getElementById("said");
  /* The parts as the agent sent them: compared, because the times in the page are rewritten. */
  const shown = new Map(parts(document).map((part) => [part.id, part.outerHTML]));
  let answeredAt = new Date();
  let timer = 0;

  function format(style) {
    try {
      return new Intl.DateTimeFormat(own || language, style);
    } catch { // a browser under LANG=C may name en-US@posix, which is no language tag
      return new Intl.DateTimeFormat(language, style);
    }
  }

  function parts(root) {
    return [...root.querySelectorAll("[data-part]")];
  }

  function localize(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.title = time.title || time.textContent;
      time.textContent = (time.hasAttribute("data-hour") ? short : full).format(at);
    }
  }

  function headlines() {
    return [...document.querySelectorAll("#headlines p")].map((one) => one.textContent).join(" ");
  }

  /* Counts and times change all the time, and are no news to somebody who listens. */
  function withoutFigures(text) {
    return text.replace(/[\d\s\u00a0\u202f.,:]+/g, " ");
  }

  function replace(id, old, html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").getElementById(id);
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    const open = [...old.querySelectorAll("details[open]")].map((one) => one.id);
    const part = document.adoptNode(fresh);
    for (const one of part.querySelectorAll("details")) one.open = open.includes(one.id);
    localize(part);
    old.replaceWith(part);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    if (focused && document.activeElement === document.body) {
      part.tabIndex = -1;
      part.focus({ preventScroll: true });
    }
  }

  function show(text) {
    const before = withoutFigures(headlines());
    for (const part of parts(new DOMParser().parseFromString(text, "text/html"))) {
      const html = part.outerHTML;
      const old = document.getElementById(part.id);
      if (old === null || shown.get(part.id) === html) continue;
      shown.set(part.id, html);
      replace(part.id, old, html);
    }
    // The result of a retry stays until it has been read: the headlines change with it.
    const isFree = said.classList.contains("unseen");
    if (isFree && withoutFigures(headlines()) !== before) said.textContent = headlines();
  }

  async function read() {
    window.clearTimeout(timer);
    try {
      const answer = await fetch("/", { signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      show(await answer.text());
      answeredAt = new Date();
      silent.hidden = true;
    } catch {
      if (silent.hidden) {
        const since = silent.querySelector("time");
        since.dateTime = answeredAt.toISOString();
        localize(silent);
        silent.hidden = false;
      }
    }
    window.clearTimeout(timer);
    timer = window.setTimeout(read, EVERY_MS);
  }

  const dialog = document.getElementById("confirm");
  const token = document.getElementById("token");
  let asked = null;
  let hiding = 0;

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-retry]");
    if (button === null) return;
    asked = button;
    document.getElementById("of").textContent = button.dataset.retry;
    dialog.returnValue = "";
    dialog.showModal();
  });

  dialog.addEventListener("close", async () => {
    const secret = token === null ? "" : token.value;
    if (token !== null) token.value = "";
    if (dialog.returnValue !== "yes" || asked === null) return;
    window.clearTimeout(hiding);
    said.classList.remove("unseen");
    said.textContent = await retry(asked.dataset.retry, secret);
    hiding = window.setTimeout(() => said.classList.add("unseen"), RESULT_MS);
    await read();
  });

  async function retry(receipt, secret) {
    const headers = secret ? { Authorization: `Bearer ${secret}` } : {};
    const path = `/agent/v1/dead-letters/${receipt}/retry`;
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const answer = await fetch(path, { method: "POST", headers, signal });
      if (answer.ok) return said.dataset.done;
      if (answer.status === 401 || answer.status === 403) return said.dataset.token;
      return answer.status === 404 ? said.dataset.gone : said.dataset.failed;
    } catch {
      return said.dataset.failed;
    }
  }

  for (const one of document.querySelectorAll(".zone")) one.textContent = zone;
  localize(document);
  document.documentElement.classList.add("live");
  document.addEventListener("visibilitychange", () => document.hidden || read());
  timer = window.setTimeout(read, EVERY_MS);
})();

// What the pages share: calls of the API, its streams of events, what goes wrong told to people, whom something is for.
"use strict";
// How long after an agent has turned a stream of events away it is asked again.
const AGAIN_MS = 5000;

const by = (id) => document.getElementById(id);

function make(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (content !== undefined) element.textContent = content;
  return element;
}

// A random UUID. Not crypto.randomUUID(): a page without TLS on another computer's address has none.
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

// What a call that failed says, for people.
async function failure(answer) {
  const said = await answer.json().catch(() => null);
  const error = new Error([said?.error, said?.hint].filter(Boolean).join(". ") || `status ${answer.status}`);
  error.status = answer.status;
  return error;
}

// Has one sign in, and come back here.
function signIn() {
  location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
}

// An answer of the API that is no failure; who is not signed in any more is asked to.
async function answerOf(method, url, body) {
  const options = { method, headers: {} };
  if (body instanceof Blob) options.body = body;
  else if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(url, options);
  if (answer.status === 401) signIn();
  if (!answer.ok) throw await failure(answer);
  return answer;
}

// Calls the API under /api/v1/ and answers what it says.
async function call(method, path, body) {
  const answer = await answerOf(method, `/api/v1/${path}`, body);
  return answer.json().catch(() => null);
}

// Says what went wrong in the page's own place for it; null: nothing does any more.
function complain(error) {
  const fault = by("fault");
  fault.textContent = error ? error.message : "";
  fault.hidden = !error;
}

// Why a stream was turned away; it is not read if it was not.
async function turnedAway(url) {
  const stop = new AbortController();
  try {
    const answer = await fetch(url, { signal: stop.signal });
    if (answer.status === 401) signIn();
    return answer.ok ? null : await failure(answer);
  } catch {
    return null;
  } finally {
    stop.abort();
  }
}

// Follows a stream of events; `on` has what to do with the data of each, by name. Goes on by itself when the agent was away.
function follow(path, on) {
  const url = `/api/v1/${path}`;
  const stale = by("stale");
  const lost = stale.textContent;
  let events = null;
  let again = null;
  const open = () => {
    const opened = new EventSource(url);
    events = opened;
    opened.addEventListener("open", () => { stale.hidden = true; });
    for (const [name, act] of Object.entries(on)) opened.addEventListener(name, (event) => act(event.data));
    opened.addEventListener("error", async () => {
      stale.textContent = lost;
      stale.hidden = false;
      // The browser tries again by itself, but not after an answer that is a failure.
      if (opened.readyState !== EventSource.CLOSED) return;
      const why = await turnedAway(url);
      if (events !== opened) return;
      if (why) stale.textContent = `What happens is not shown: ${why.message}. Trying again …`;
      again = setTimeout(open, AGAIN_MS);
    });
  };
  open();
  // A browser keeps pages that were left, with their streams, in case one goes back to them: nobody looks at these.
  addEventListener("pagehide", () => {
    clearTimeout(again);
    events.close();
    events = null;
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) open();
  });
}

// Whom a form is for, as the API takes it; null: nobody is chosen.
function recipientsOf(form) {
  const { to, group } = form.elements;
  if (to.value === "all") return { all: true };
  if (to.value === "group") return { group: group.value };
  const agents = [...form.querySelectorAll("input[name=agent]:checked")].map((box) => box.value);
  return to.value === "agents" && agents.length ? { agents } : null;
}

// Who picks a group or an agent means it.
for (const choice of document.querySelectorAll("fieldset.recipients")) {
  choice.addEventListener("change", (event) => {
    const means = { group: "group", agent: "agents" }[event.target.name];
    if (means) choice.querySelector(`input[name=to][value=${means}]`).checked = true;
  });
}

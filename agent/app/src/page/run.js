// Runs a command on the chosen agents and shows what each prints, as it comes, from the API's stream of events.
"use strict";
const NAMESPACE = "urn:shoal:run:1";
const form = document.getElementById("run");
const choices = document.getElementById("agents");
const answers = document.getElementById("answers");
const problem = document.getElementById("problem");
// Characters kept of one agent's output; what came before them is let go.
const KEPT = 200000;

// Words of a command line: quotes keep them together, nothing else means anything.
function words(line) {
  const found = [];
  for (const match of line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)) found.push(match[1] ?? match[2] ?? match[3]);
  return found;
}

function escaped(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

function show(sentence) {
  problem.textContent = sentence;
  problem.hidden = !sentence;
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

async function list() {
  const answer = await fetch("/api/v1/nodes");
  if (!answer.ok) return;
  for (const node of (await answer.json()).nodes) {
    const label = element("label", "choice");
    const box = element("input");
    box.type = "checkbox";
    box.name = "agent";
    box.value = node.id;
    label.append(box, ` ${node.name} (${node.state})`);
    choices.append(label);
  }
}

choices.addEventListener("change", () => {
  form.elements.all.checked = !choices.querySelector(":checked");
});

form.elements.all.addEventListener("change", () => {
  if (form.elements.all.checked) for (const box of choices.querySelectorAll(":checked")) box.checked = false;
});

// One agent's card: its name, its state, its output.
function card(cards, name) {
  if (cards.has(name)) return cards.get(name);
  const box = element("section", "answer");
  const state = element("span", "state", "waiting");
  const head = element("h2", "", name + " ");
  head.append(state);
  const output = element("pre");
  box.append(head, output);
  answers.append(box);
  const made = { state, output };
  cards.set(name, made);
  return made;
}

function take(cards, event) {
  if (event.event === "sent") {
    for (const message of event.messages) for (const recipient of message.recipients) card(cards, recipient.name);
  } else if (event.event === "state") {
    const { state } = card(cards, event.name);
    const status = event.exit_status;
    state.textContent = status === undefined ? event.state.replace(/-/g, " ") : status === 0 ? "done" : `exit status ${status}`;
    state.classList.toggle("good", status === 0);
    state.classList.toggle("bad", (status ?? 0) !== 0 || event.state === "refused" || event.state === "expired");
    if (event.why && event.state !== "waiting") state.title = event.why;
    if (event.why && event.state === "refused") state.textContent = `refused: ${event.why}`;
  } else if (event.event === "reply") {
    const { output } = card(cards, event.name);
    const parsed = new DOMParser().parseFromString(`<body>${event.xml}</body>`, "application/xml");
    for (const part of parsed.getElementsByTagNameNS(NAMESPACE, "output")) {
      const piece = element("span", part.getAttribute("stream") === "err" ? "error" : "");
      piece.textContent = part.textContent;
      output.append(piece);
    }
    if (event.text) output.append(event.text);
    while (output.textContent.length > KEPT && output.firstChild) output.firstChild.remove();
    output.scrollTop = output.scrollHeight;
  } else if (event.event === "done" && !event.finished) {
    show("The time is over; who has not answered may be asleep. What was sent is still valid until it expires.");
  }
}

// The events of a stream that is answered to a POST, which EventSource cannot read.
async function follow(answer, each) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length) each(JSON.parse(data.map((line) => line.slice(5).trimStart()).join("\n")));
    }
  }
}

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  show("");
  answers.replaceChildren();
  const [command, ...rest] = words(form.elements.command.value);
  if (!command) return show("A command is needed.");
  const timeout = Number(form.elements.timeout.value) || 60;
  const agents = [...choices.querySelectorAll(":checked")].map((box) => box.value);
  const body = [`<command>${escaped(command)}</command>`, ...rest.map((word) => `<argument>${escaped(word)}</argument>`)];
  const request = {
    type: "run",
    to: agents.length ? { agents } : { all: true },
    xml: `<run xmlns="${NAMESPACE}" timeout-s="${timeout}">${body.join("")}</run>`,
    expires_s: timeout + 60,
    timeout_s: timeout + 60,
  };
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const headers = { "content-type": "application/json" };
    const answer = await fetch("/api/v1/requests", { method: "POST", headers, body: JSON.stringify(request) });
    if (answer.status === 401) return location.assign("/sign-in");
    if (!answer.ok) {
      const failure = await answer.json();
      return show([failure.error, failure.hint].filter(Boolean).join(" "));
    }
    const cards = new Map();
    await follow(answer, (event) => take(cards, event));
  } catch (error) {
    show(`The agent does not answer: ${error.message}`);
  } finally {
    button.disabled = false;
  }
});

list();

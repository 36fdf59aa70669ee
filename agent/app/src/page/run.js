// Runs a command on the chosen agents and shows what each prints, as it comes, from the API's stream of events.
"use strict";
const NAMESPACE = "urn:shoal:run:1";
const [form, answers] = ["run", "answers"].map(by);
// Characters kept of one agent's output; what came before them is let go.
const KEPT = 200000;
// Seconds that agents which are asleep have to come up; later they do not run it any more.
const WITHIN_S = 60;
// Seconds after which nobody answers who has not.
const PATIENCE_S = 15;
const STATES = { waiting: "asleep", delivered: "running", handled: "done", "expired-on-the-way": "expired" };

// Words of a command line: quotes keep what is between them together, nothing else means anything.
function words(line) {
  const found = [];
  let word = null;
  let quote = null;
  for (const letter of line) {
    if (quote) {
      if (letter === quote) quote = null;
      else word += letter;
    } else if (letter === '"' || letter === "'") {
      quote = letter;
      word ??= "";
    } else if (/\s/.test(letter)) {
      if (word !== null) found.push(word);
      word = null;
    } else {
      word = (word ?? "") + letter;
    }
  }
  if (quote) throw new Error(`The quote ${quote} has no end.`);
  if (word !== null) found.push(word);
  return found;
}

function escaped(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

// One agent's card: its name, its state, what there is to say of it, its output.
function card(cards, { agent, name }) {
  if (cards.has(agent)) return cards.get(agent);
  const box = make("section", "answer");
  const [state, why, output] = [make("span", "state", STATES.waiting), make("p", "note"), make("pre")];
  const head = make("h2", "", `${name} `);
  head.append(state);
  why.hidden = output.hidden = true;
  box.append(head, why, output);
  answers.append(box);
  const made = { state, why, output };
  cards.set(agent, made);
  return made;
}

function explain({ why }, sentence) {
  why.textContent = sentence ?? "";
  why.hidden = !sentence;
}

function take(cards, event) {
  if (event.event === "sent") {
    const all = event.messages.flatMap((message) => message.recipients);
    all.sort((one, other) => one.name.localeCompare(other.name)).forEach((recipient) => card(cards, recipient));
  } else if (event.event === "state") {
    const one = card(cards, event);
    const status = event.exit_status;
    one.state.textContent = status ? `exit status ${status}` : (STATES[event.state] ?? event.state);
    one.state.classList.toggle("good", status === 0);
    one.state.classList.toggle("bad", Boolean(status) || ["refused", "expired", "expired-on-the-way"].includes(event.state));
    if (event.state !== "handled") explain(one, event.state === "delivered" ? "" : event.why);
  } else if (event.event === "reply") {
    const one = card(cards, event);
    const parsed = new DOMParser().parseFromString(`<body>${event.xml}</body>`, "application/xml");
    for (const ended of parsed.getElementsByTagNameNS(NAMESPACE, "ended")) explain(one, ended.textContent);
    for (const part of parsed.getElementsByTagNameNS(NAMESPACE, "output")) {
      one.output.append(make("span", part.getAttribute("stream") === "err" ? "error" : "", part.textContent));
    }
    one.output.hidden = !one.output.firstChild;
    while (one.output.textContent.length > KEPT && one.output.firstChild) one.output.firstChild.remove();
    one.output.scrollTop = one.output.scrollHeight;
  } else if (event.event === "done" && !event.finished) {
    complain(new Error("Not all have answered in time. Who is asleep does not run it any more; who is running it goes on."));
  }
}

// The events of a stream that is answered to a POST, which EventSource cannot read.
async function eachEvent(answer, each) {
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

async function run() {
  const [command, ...rest] = words(form.elements.command.value);
  if (!command) throw new Error("A command is needed.");
  const to = recipientsOf(form);
  if (!to) throw new Error("Say where it is to run.");
  const timeout = Number(form.elements.timeout.value) || 60;
  const body = [`<command>${escaped(command)}</command>`, ...rest.map((word) => `<argument>${escaped(word)}</argument>`)];
  const answer = await answerOf("POST", "/api/v1/requests", {
    type: "run",
    to,
    xml: `<run xmlns="${NAMESPACE}" timeout-s="${timeout}">${body.join("")}</run>`,
    // Answers to one session come in the order in which they were sent.
    from_session: newId(),
    expires_s: WITHIN_S,
    timeout_s: WITHIN_S + timeout + PATIENCE_S,
  });
  answers.replaceChildren();
  const cards = new Map();
  await eachEvent(answer, (event) => take(cards, event));
}

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  complain(null);
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await run();
  } catch (error) {
    complain(error);
  } finally {
    button.disabled = false;
  }
});

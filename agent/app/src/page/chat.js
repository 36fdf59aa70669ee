// The chat: draws what the API tells, and says what is typed. All text from people goes into the page as text.
"use strict";
const root = document.querySelector("main.chat");
const { user, kind, name } = root.dataset;
const here = kind === "rooms" ? { room: name } : { with: name };
const path = `chat/${kind}/${encodeURIComponent(name)}`;
const [rooms, people, entries, scroll, older, newer, empty, say, text, present] = ["rooms", "people", "entries", "scroll", "older", "newer", "empty", "say", "text", "present"].map(by);

// Entries of this conversation by id, and the list items that show them.
const shown = new Map();
// Other conversations by key: what is unread.
const unread = new Map();
let known = { rooms: ["lobby"], users: [] };
let there = [];
let windowNumber = null;
let seenUntil = 0;
let more = false;

const keyOf = (place) => ("room" in place ? `room:${place.room}` : `with:${place.with}`);
const hereKey = keyOf(here);

// Addresses become links; everything else stays text.
function fill(element, words) {
  const address = /https?:\/\/[^\s<>"]*[^\s<>".,;:!?)\]}']/g;
  let at = 0;
  for (const found of words.matchAll(address)) {
    element.append(words.slice(at, found.index));
    const link = make("a", "", found[0]);
    link.href = found[0];
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    element.append(link);
    at = found.index + found[0].length;
  }
  element.append(words.slice(at));
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });

function setTick(item, tick) {
  const mark = item.querySelector(".tick");
  // An older answer may come after a newer event.
  const older = item.tick && tick && (tick.got < item.tick.got || tick.of < item.tick.of);
  if (!mark || !tick || older) return;
  item.tick = tick;
  const all = tick.got >= tick.of;
  mark.classList.toggle("all", all);
  mark.textContent = all ? "✓✓" : tick.got > 0 ? `✓ ${tick.got}/${tick.of}` : "…";
  mark.title = `On ${tick.got} of ${tick.of} agents`;
  mark.setAttribute("aria-label", mark.title);
}

function draw(entry) {
  const item = make("li", entry.own ? "own" : "");
  const who = make("div", "who");
  who.append(make("b", "", entry.user));
  const time = make("time", "", clock.format(entry.sent_ms));
  time.dateTime = new Date(entry.sent_ms).toISOString();
  time.title = `${new Date(entry.sent_ms).toLocaleString()}, at ${entry.agent}`;
  who.append(time);
  const words = make("div", "text");
  words.title = time.title;
  fill(words, entry.text);
  item.append(who, words);
  if (entry.own) item.append(make("span", "tick"));
  setTick(item, entry.tick);
  item.entry = entry;
  return item;
}

const before = (one, other) => one.sent_ms - other.sent_ms || (one.id < other.id ? -1 : 1);

// Puts entries where they belong; answers whether any is new.
function take(list) {
  let news = false;
  for (const entry of list) {
    const known = shown.get(entry.id);
    if (known) {
      setTick(known, entry.tick);
      continue;
    }
    news = true;
    const item = draw(entry);
    shown.set(entry.id, item);
    let after = entries.lastElementChild;
    while (after && (!after.entry || before(after.entry, entry) > 0)) after = after.previousElementSibling;
    if (after) after.after(item);
    else entries.prepend(item);
  }
  if (news) tidy();
  empty.hidden = shown.size > 0;
  return news;
}

// A line before each day, and the name before what somebody says in one go.
function tidy() {
  entries.querySelectorAll(".day").forEach((line) => line.remove());
  let last = null;
  for (const item of [...entries.children]) {
    const entry = item.entry;
    const day = calendar.format(entry.sent_ms);
    const sameDay = last !== null && calendar.format(last.sent_ms) === day;
    if (!sameDay) item.before(make("li", "day", day));
    const goesOn = sameDay && last.user === entry.user && entry.sent_ms - last.sent_ms < 5 * 60 * 1000;
    item.classList.toggle("first", !goesOn);
    last = entry;
  }
}

const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
function toEnd() {
  scroll.scrollTop = scroll.scrollHeight;
  newer.hidden = true;
}

function markSeen() {
  const last = entries.lastElementChild?.entry;
  if (!last || document.hidden || !atEnd() || last.sent_ms <= seenUntil) return;
  seenUntil = last.sent_ms;
  unread.delete(hereKey);
  drawLists();
  call("POST", `${path}/seen`, { until_ms: seenUntil }).catch(() => {});
}

function link(place, label, state) {
  const item = make("li");
  const anchor = make("a");
  anchor.href = "room" in place ? `/chat/${encodeURIComponent(place.room)}` : `/chat/with/${encodeURIComponent(place.with)}`;
  if (state !== undefined) {
    const dot = make("span", `dot ${state}`);
    dot.title = state || "not here";
    anchor.append(dot);
  }
  anchor.append(make("span", "", label));
  if (state) anchor.append(make("span", "aside", `, ${state}`));
  if (keyOf(place) === hereKey) anchor.setAttribute("aria-current", "page");
  const count = unread.get(keyOf(place)) ?? 0;
  if (count > 0) {
    const badge = make("span", "badge", count > 99 ? "99+" : String(count));
    badge.setAttribute("aria-label", `${count} new`);
    anchor.append(badge);
  }
  item.append(anchor);
  return item;
}

function drawLists() {
  const names = new Set(known.rooms);
  if (kind === "rooms") names.add(name);
  rooms.replaceChildren(...[...names].map((room) => link({ room }, `#${room}`)));
  const others = new Set(known.users);
  if (kind === "with") others.add(name);
  const stateOf = (one) => there.find((person) => person.user === one)?.state ?? "";
  const rank = (one) => ["here", "away", ""].indexOf(stateOf(one));
  const sorted = [...others].sort((one, other) => rank(one) - rank(other) || one.localeCompare(other));
  people.replaceChildren(...sorted.map((one) => link({ with: one }, one === user ? `${one} (you)` : one, stateOf(one))));
  const inRoom = there.filter((person) => (kind === "rooms" ? person.rooms.includes(name) : person.user === name));
  const called = inRoom.map((person) => (person.state === "away" ? `${person.user} (away)` : person.user));
  present.textContent = kind === "rooms" ? (called.length ? `Here: ${called.join(", ")}` : "") : (inRoom[0]?.state ?? "not here");
  const total = [...unread.values()].reduce((sum, count) => sum + count, 0);
  document.title = `${total ? `(${total}) ` : ""}${kind === "rooms" ? "#" : ""}${name} – Shoal chat`;
}

// Everything as it is now: at the start, and whenever some may have been missed.
async function look() {
  const [list, history] = await Promise.all([call("GET", "chat/rooms"), call("GET", `${path}?limit=100`)]);
  known = { rooms: list.conversations.filter((one) => "room" in one).map((one) => one.room), users: list.users };
  there = list.people;
  unread.clear();
  for (const one of list.conversations) if (one.unread) unread.set(keyOf(one), one.unread);
  const stay = shown.size > 0 && !atEnd();
  if (shown.size === 0) more = history.more;
  seenUntil = Math.max(seenUntil, history.seen_ms);
  take(history.entries);
  empty.hidden = shown.size > 0;
  older.hidden = !more;
  if (!stay) toEnd();
  drawLists();
  markSeen();
}

function listen() {
  const heard = {};
  const on = (what, act) => { heard[what] = (data) => act(JSON.parse(data)); };
  on("ready", (event) => {
    windowNumber = event.window;
    tellAway();
    look().catch(complain);
  });
  on("said", (event) => {
    const key = keyOf(event);
    if (key === hereKey) {
      const follow = event.entry.own || atEnd();
      take([event.entry]);
      if (follow) toEnd();
      else newer.hidden = false;
    }
    if ("room" in event && !known.rooms.includes(event.room)) known.rooms.push(event.room);
    if (!event.entry.own) unread.set(key, (unread.get(key) ?? 0) + 1);
    drawLists();
    markSeen();
  });
  on("tick", (event) => {
    const item = shown.get(event.id);
    if (item) setTick(item, event.tick);
  });
  on("people", (event) => {
    there = event.people;
    drawLists();
  });
  on("seen", (event) => {
    if (keyOf(event) === hereKey) seenUntil = Math.max(seenUntil, event.until_ms);
    unread.delete(keyOf(event));
    drawLists();
  });
  on("anew", () => look().catch(complain));
  follow(`chat/events${kind === "rooms" ? `?room=${encodeURIComponent(name)}` : ""}`, heard);
}

function tellAway() {
  if (windowNumber !== null) call("POST", "chat/away", { window: windowNumber, away: document.hidden }).catch(() => {});
}

let saying = false;
async function speak() {
  const words = text.value;
  if (!words.trim() || saying) return;
  saying = true;
  try {
    await call("POST", path, { text: words });
    if (text.value === words) text.value = "";
    complain(null);
  } catch (error) {
    complain(error);
  } finally {
    saying = false;
    text.focus();
  }
}

say.addEventListener("submit", (event) => {
  event.preventDefault();
  speak();
});
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  speak();
});
by("new-room").addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(`/chat/${encodeURIComponent(new FormData(event.target).get("room"))}`);
});
older.addEventListener("click", async () => {
  const first = [...entries.children].find((item) => item.entry)?.entry;
  if (!first) return;
  const height = scroll.scrollHeight;
  try {
    const page = await call("GET", `${path}?limit=100&before=${first.id}`);
    more = page.more && page.entries.length > 0;
    take(page.entries);
    older.hidden = !more;
    scroll.scrollTop += scroll.scrollHeight - height;
  } catch (error) {
    complain(error);
  }
});
newer.addEventListener("click", () => {
  toEnd();
  markSeen();
});
// Who reads the newest goes on doing so when the window, or the keyboard of a phone, leaves less room.
let stays = true;
new ResizeObserver(() => {
  if (stays) toEnd();
}).observe(scroll);
scroll.addEventListener("scroll", () => {
  stays = atEnd();
  if (stays) newer.hidden = true;
  markSeen();
});
document.addEventListener("visibilitychange", () => {
  tellAway();
  markSeen();
});
drawLists();
listen();

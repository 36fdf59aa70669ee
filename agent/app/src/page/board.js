// The whiteboard: draws what the API tells, and tells it what is drawn.
"use strict";
const root = document.querySelector("main.board");
const { user, board } = root.dataset;
const path = `boards/${encodeURIComponent(board)}`;
const [paper, shapes, drawing, undo, clear, boards, hint, sure] = ["paper", "shapes", "drawing", "undo", "clear", "boards", "hint", "sure"].map(by);

const WIDE = 1600;
const HIGH = 1000;
// Points of one message; the API takes 500.
const POINTS_LIMIT = 400;
// While a line is being drawn, what is new of it is sent this often.
const SEND_EVERY_MS = 300;
// Points nearer than this to the last one are left out.
const NEAR = 3;

// Who drew what is on the board, and with which line, by the id of its message.
const known = new Map();
// Own strokes that are on their way: what draws them, by a number.
const onTheWay = new Set();
// What is sent goes in order.
let sending = Promise.resolve();

function element(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function shapeOf(stroke) {
  const [first] = stroke.points;
  if (stroke.points.length === 1) return element("circle", { cx: first[0], cy: first[1], r: stroke.width / 2, fill: stroke.colour });
  const points = stroke.points.map((point) => point.join(",")).join(" ");
  return element("polyline", { points, stroke: stroke.colour, "stroke-width": stroke.width });
}

function put(shape) {
  if (known.has(shape.id)) return;
  const made = shapeOf(shape);
  const title = element("title", {});
  title.textContent = shape.user;
  made.append(title);
  known.set(shape.id, shape);
  shapes.append(made);
}

let looking = null;
let lookAgain = false;
// The board as it is now; asked for once at a time.
function look() {
  if (looking) {
    lookAgain = true;
    return looking;
  }
  looking = (async () => {
    do {
      lookAgain = false;
      const now = await call("GET", path);
      known.clear();
      shapes.replaceChildren();
      now.shapes.forEach(put);
      undo.disabled = !now.undo;
      tell();
    } while (lookAgain);
  })().catch(complain).finally(() => {
    looking = null;
  });
  return looking;
}

function tell() {
  const drawn = [...new Set([...known.values()].map((shape) => shape.user))];
  const lines = new Set([...known.values()].map((shape) => shape.line)).size;
  const strokes = lines === 1 ? "1 line" : `${lines} lines`;
  hint.textContent = known.size === 0 ? "Draw with the mouse, a pen or a finger." : `${strokes} by ${drawn.join(", ")}`;
}

async function listBoards() {
  const list = await call("GET", "boards");
  const names = new Set(list.boards.map((one) => one.board));
  names.add(board);
  boards.replaceChildren(...[...names].map((name) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = `/whiteboard/${encodeURIComponent(name)}`;
    link.textContent = name;
    if (name === board) link.setAttribute("aria-current", "page");
    item.append(link);
    return item;
  }));
}

let resting = null;
function listen() {
  follow(`${path}/events`, {
    ready: () => {
      look();
      listBoards().catch(complain);
    },
    drawn: (data) => {
      const shape = JSON.parse(data);
      put(shape);
      if (shape.user === user) {
        undo.disabled = false;
        return tell();
      }
      hint.textContent = `${shape.user} is drawing`;
      clearTimeout(resting);
      resting = setTimeout(tell, 3000);
    },
    anew: look,
  });
}

const chosen = (name) => root.querySelector(`input[name=${name}]:checked`).value;

function send(stroke) {
  const made = shapeOf(stroke);
  drawing.append(made);
  onTheWay.add(made);
  sending = sending.then(async () => {
    try {
      const answer = await call("POST", path, { stroke });
      put({ ...stroke, id: answer.id, user });
      undo.disabled = false;
      complain(null);
    } catch (error) {
      complain(error);
    } finally {
      made.remove();
      onTheWay.delete(made);
    }
  });
}

// The line under the pen: all of it is shown, what is new of it is sent now and then.
let pen = null;

function place(event) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(paper.getScreenCTM().inverse());
  const within = (value, limit) => Math.min(limit, Math.max(0, Math.round(value)));
  return [within(at.x, WIDE), within(at.y, HIGH)];
}

function flush() {
  if (!pen || pen.points.length === 0) return;
  const { colour, width, line, points } = pen;
  send({ colour, width, line, points });
  pen.sent = true;
  // The next part begins where this one ends.
  pen.points = [points[points.length - 1]];
  pen.fresh = false;
  pen.shape.remove();
  pen.shape = null;
  pen.since = performance.now();
}

function show() {
  pen.shape?.remove();
  pen.shape = shapeOf(pen);
  drawing.append(pen.shape);
}

paper.addEventListener("pointerdown", (event) => {
  if (pen || (event.pointerType === "mouse" && event.button !== 0)) return;
  event.preventDefault();
  try {
    paper.setPointerCapture(event.pointerId);
  } catch {
    // The pointer may be gone already.
  }
  pen = { id: event.pointerId, colour: chosen("colour"), width: Number(chosen("width")), line: newId(), points: [place(event)], shape: null, fresh: true, since: performance.now() };
  show();
});

paper.addEventListener("pointermove", (event) => {
  if (!pen || event.pointerId !== pen.id) return;
  const moves = event.getCoalescedEvents?.() ?? [];
  for (const move of moves.length ? moves : [event]) {
    const [x, y] = place(move);
    const [lastX, lastY] = pen.points[pen.points.length - 1];
    if (Math.hypot(x - lastX, y - lastY) < NEAR) continue;
    pen.points.push([x, y]);
    pen.fresh = true;
    if (pen.points.length >= POINTS_LIMIT) flush();
  }
  if (pen.fresh) show();
  if (pen.fresh && pen.points.length > 1 && performance.now() - pen.since > SEND_EVERY_MS) flush();
});

function lift(event) {
  if (!pen || event.pointerId !== pen.id) return;
  if (pen.fresh) flush();
  pen.shape?.remove();
  pen = null;
}
paper.addEventListener("pointerup", lift);
paper.addEventListener("pointercancel", lift);

function act(what) {
  sending = sending.then(() => call("POST", path, what)).then(() => complain(null), complain);
}
undo.addEventListener("click", () => act({ undo: true }));
clear.addEventListener("click", () => sure.showModal());
sure.addEventListener("close", () => {
  if (sure.returnValue === "clear") act({ clear: true });
  sure.returnValue = "";
});
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement && event.target.type === "text";
  if (typing || event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey) return;
  event.preventDefault();
  if (!undo.disabled) act({ undo: true });
});
by("new-board").addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(`/whiteboard/${encodeURIComponent(new FormData(event.target).get("board"))}`);
});
listen();

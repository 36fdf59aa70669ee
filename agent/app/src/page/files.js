// Files: keeps the list fresh, sends what is picked in pieces, lists what came.
"use strict";
const PIECE_BYTES = 8 * 1024 * 1024;
const TRIES = 20;
const [live, form, said, bar] = ["live", "send", "said", "sending"].map(by);
// Lists that are open, by transfer.
const opened = new Map();

follow("files/events", {
  files: (drawn) => {
    live.innerHTML = drawn;
    for (const details of live.querySelectorAll("details[data-entries]")) {
      const list = opened.get(details.dataset.entries);
      if (!list) continue;
      details.querySelector("ul").replaceWith(list);
      details.open = true;
    }
  },
});

const UNITS = ["B", "KB", "MB", "GB", "TB"];
function size(bytes) {
  const power = Math.min(UNITS.length - 1, bytes < 1 ? 0 : Math.floor(Math.log10(bytes) / 3));
  return power === 0 ? `${bytes} B` : `${Number((bytes / 1000 ** power).toPrecision(3))} ${UNITS[power]}`;
}

// A list of what came is fetched when it is opened.
live.addEventListener("toggle", async (event) => {
  const details = event.target;
  const id = details.dataset.entries;
  if (!id) return;
  if (!details.open) { if (details.isConnected) opened.delete(id); return; }
  const list = details.querySelector("ul");
  opened.set(id, list);
  if (list.childElementCount) return;
  try {
    const { entries } = await call("GET", `files/${id}/entries`);
    const items = entries.filter((entry) => !entry.folder).map((entry) => {
      const item = make("li");
      const link = make("a", "", entry.path);
      link.href = `/api/v1/files/${id}/content/${entry.number}`;
      link.download = entry.path.split("/").pop();
      item.append(link, ` ${size(entry.size_bytes)}`);
      return item;
    });
    list.replaceChildren(...items);
  } catch (error) { list.textContent = error.message; }
}, true);

live.addEventListener("click", async (event) => {
  const id = event.target.dataset.remove;
  if (!id || !confirm("Remove this transfer and its files here?")) return;
  try { await call("DELETE", `files/${id}`); } catch (error) { said.textContent = error.message; }
});

function picked() {
  const files = [...document.getElementById("pick").files, ...document.getElementById("pick-folder").files];
  return files.map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

// From where the agent says that a file ends, again and again until all of it is there.
async function hand_in(id, number, file, done) {
  let offset = 0;
  for (let tries = 0; offset < file.size;) {
    try {
      const piece = file.slice(offset, offset + PIECE_BYTES);
      offset = (await call("PUT", `files/${id}/content/${number}?offset=${offset}`, piece)).there_bytes;
      tries = 0;
      done(offset);
    } catch (error) {
      tries += 1;
      if (tries > TRIES || (error.status >= 400 && error.status < 500 && error.status !== 409)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250 * tries));
      try { offset = (await call("GET", `files/${id}/entries`)).entries[number].there_bytes; } catch { /* again */ }
    }
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const files = picked();
  const to = recipientsOf(form);
  if (!files.length) { said.textContent = "Pick files first."; return; }
  if (!to) { said.textContent = "Say to whom."; return; }
  const button = form.querySelector("button");
  button.disabled = true;
  bar.hidden = false;
  try {
    const entries = files.map(({ file, path }) => ({ path, size_bytes: file.size, modified_ms: file.lastModified }));
    const { transfer } = await call("POST", "files", { entries, note: form.elements.note.value });
    const total = files.reduce((sum, { file }) => sum + file.size, 0);
    let before = 0;
    for (const [number, { file, path }] of files.entries()) {
      said.textContent = `Handing ${path} to this computer’s agent …`;
      await hand_in(transfer, number, file, (there) => { bar.value = total ? (before + there) / total : 1; });
      before += file.size;
    }
    await call("POST", `files/${transfer}/offer`, { to });
    said.textContent = "On its way; how far it is stands below.";
    form.reset();
  } catch (error) {
    said.textContent = error.message;
  } finally {
    button.disabled = false;
    bar.hidden = true;
    bar.value = 0;
  }
});

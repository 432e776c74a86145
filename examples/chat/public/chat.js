// The page: a door, a room, and what happens between them.

import { Connection } from "./connection.js";
import { $, make, Log, People } from "./view.js";

const NAME_TAKEN = 4009;
const REPLACED = 4001;
const MAX_TEXT = 2000;
const ANSWER_TIMEOUT = 10_000; // a message not echoed by then: the connection is dead

const log = new Log();
const people = new People();

let room = "";
let me = "";
let connection = null;
let welcomed = false;
let endedBy = 0;
let epoch = 0; // when the room's process began; message ids count from there
let lastId = 0;
let countdown = 0;
const pending = new Map(); // ref → { text, element, sentAt }

/* What the browser keeps: the name for next time, the rest for this tab. */

const keep = {
  get: (store, key) => { try { return store.getItem(key) ?? ""; } catch { return ""; } },
  set: (store, key, value) => { try { value ? store.setItem(key, value) : store.removeItem(key); } catch { /* private mode */ } },
};
const token = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const session = keep.get(sessionStorage, "session") || token();
keep.set(sessionStorage, "session", session);
const draftKey = () => `draft:${room}`;

/* The door */

function nameFault(name) {
  if (!name) return "Tell us your name.";
  if ([...name].length > 24) return "A name has at most 24 characters.";
  return "";
}

function roomFault(name) {
  if (!name) return "Choose a room.";
  if (!/^[a-z0-9][a-z0-9-]*$/.test(name)) return "A room’s name is made of letters a to z, digits and hyphens.";
  if (name.length > 32) return "A room’s name has at most 32 characters.";
  return "";
}

function showFault(field, text) {
  $(field).setAttribute("aria-invalid", String(Boolean(text)));
  $(`${field}-fault`).textContent = text;
  return !text;
}

function showDoor(fault = "") {
  $("chat").hidden = true;
  $("door").hidden = false;
  document.title = "Moonwire chat";
  $("name").value ||= keep.get(localStorage, "name");
  $("room").value ||= decodeURIComponent(location.hash.slice(1)) || "lobby";
  showFault("name", fault);
  showFault("room", "");
  $("name").focus();
  listRooms();
}

async function listRooms() {
  let rooms = [];
  try {
    const response = await fetch("/api/rooms");
    if (response.ok) rooms = (await response.json()).rooms ?? [];
  } catch { /* the door works without the list */ }
  $("open-rooms").hidden = rooms.length === 0;
  $("open-rooms-list").replaceChildren(
    ...rooms.slice(0, 12).map((open) => {
      const button = make("button", { type: "button", text: open.room });
      button.append(make("span", { className: "count", text: String(open.people) }));
      button.setAttribute("aria-label", `${open.room}, ${open.people} here`);
      button.addEventListener("click", () => {
        $("room").value = open.room;
        if ($("name").value.trim()) $("join").requestSubmit();
        else $("name").focus();
      });
      return make("li", {}, button);
    }),
  );
}

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim().replace(/\s+/g, " ");
  const wanted = $("room").value.trim().toLowerCase();
  const roomFine = showFault("room", roomFault(wanted));
  const nameFine = showFault("name", nameFault(name));
  if (!nameFine) return $("name").focus();
  if (!roomFine) return $("room").focus();
  enter(wanted, name);
});

/* The room */

function enter(wanted, name) {
  room = wanted;
  me = name;
  welcomed = false;
  epoch = lastId = 0;
  pending.clear();
  keep.set(localStorage, "name", name);
  keep.set(sessionStorage, "room", room);
  history.replaceState(null, "", `#${room}`);

  $("door").hidden = true;
  $("chat").hidden = false;
  $("room-title").textContent = room;
  document.title = `${room} · Moonwire chat`;
  log.clear();
  people.set([], me);
  $("text").value = keep.get(sessionStorage, draftKey());
  grow();
  $("text").focus();

  const url = `${location.host}/ws/${encodeURIComponent(room)}?name=${encodeURIComponent(name)}&session=${session}`;
  const secure = location.protocol === "https:";
  let explained = false;
  connection = new Connection(`${secure ? "wss" : "ws"}://${url}`, {
    frame: receive,
    settled,
    state(state, nextTry) {
      showState(state, nextTry);
      if (state === "waiting" && !welcomed && !explained) {
        explained = true;
        explain(`${location.protocol}//${url}`);
      }
    },
  });
}

function leave(fault = "") {
  connection?.end();
  connection = null;
  clearInterval(countdown);
  keep.set(sessionStorage, "room", "");
  showDoor(fault);
}

function settled(event) {
  endedBy = event.code;
  return event.code === NAME_TAKEN || event.code === REPLACED;
}

// A browser hides why a handshake was refused; asked as a plain request, the same address says it.
async function explain(url) {
  try {
    const response = await fetch(url);
    if (response.status !== 400) return;
    const { error } = await response.json();
    if (connection && !welcomed) leave(error);
  } catch { /* no network: the countdown says enough */ }
}

function showState(state, nextTry) {
  const status = $("status");
  clearInterval(countdown);
  status.dataset.state = state;
  $("try-now").hidden = state !== "waiting" && state !== "ended";
  $("try-now").textContent = state === "ended" ? "Use it here" : "Try now";

  if (state === "open") {
    status.textContent = "Connected";
  } else if (state === "connecting") {
    status.textContent = welcomed ? "Reconnecting…" : "Connecting…";
  } else if (state === "waiting") {
    // Those who listen hear "Reconnecting"; the seconds are for those who look.
    const seconds = make("span", { className: "seconds", "aria-hidden": "true" });
    const tick = () => { seconds.textContent = ` ${Math.max(1, Math.ceil((nextTry - Date.now()) / 1000))} s`; };
    tick();
    status.replaceChildren(make("span", {}, "Reconnecting…", seconds));
    countdown = setInterval(tick, 1000);
  } else if (endedBy === REPLACED) {
    status.textContent = "Open in another tab";
  } else {
    leave("Somebody in this room has that name. Choose another one.");
  }
}

function receive(frame) {
  if (frame.type === "welcome") welcome(frame);
  else if (frame.type === "message") show(frame);
  else if (frame.type === "joined") {
    if (!people.has(frame.name)) log.notice(`${frame.name} joined`, frame.at);
    people.add(frame.name);
  } else if (frame.type === "left") {
    people.remove(frame.name);
    log.notice(`${frame.name} left`, frame.at);
  } else if (frame.type === "error") refused(frame);
}

function welcome({ you, people: names, history: messages, epoch: began }) {
  const first = !welcomed;
  me = you;
  people.set(names, me);

  if (began !== epoch) {
    epoch = began;
    lastId = 0;
  }
  for (const message of messages) show(message);
  if (first) {
    log.notice("You joined");
    log.toEnd();
  }
  welcomed = true;

  // What was on its way when the connection broke goes again; the room knows it by its ref.
  for (const [ref, item] of pending) deliver(ref, item);
}

function show(message) {
  const mine = message.name === me ? pending.get(message.ref) : undefined;
  if (mine) {
    pending.delete(message.ref);
    mine.element.classList.remove("pending");
  } else if (message.id > lastId) {
    log.message(message);
  }
  lastId = Math.max(lastId, message.id);
}

function refused({ text, ref }) {
  const item = pending.get(ref);
  if (item) {
    pending.delete(ref);
    item.element.remove();
    if (!$("text").value) setText(item.text);
  }
  $("text-fault").textContent = text;
}

function deliver(ref, item) {
  item.sentAt = connection?.send({ type: "say", text: item.text, ref }) ? Date.now() : 0;
}

// Nothing came back for a while: the socket only looks open.
setInterval(() => {
  const overdue = [...pending.values()].some(({ sentAt }) => sentAt && Date.now() - sentAt > ANSWER_TIMEOUT);
  if (!overdue) return;
  for (const item of pending.values()) item.sentAt = 0;
  connection?.restart();
}, 2000);

/* The composer */

function setText(value) {
  $("text").value = value;
  keep.set(sessionStorage, draftKey(), value);
  grow();
}

function grow() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

$("text").addEventListener("input", () => {
  $("text-fault").textContent = "";
  setText($("text").value);
});

$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  $("text").focus();
  if (!text) return;
  if ([...text].length > MAX_TEXT) {
    $("text-fault").textContent = `A message has at most ${MAX_TEXT} characters; this one has ${[...text].length}.`;
    return;
  }
  if ($("status").dataset.state !== "open" || !welcomed) {
    $("text-fault").textContent = "Not connected right now. Your draft stays here.";
    connection?.tryNow();
    return;
  }
  $("text-fault").textContent = "";
  const ref = token();
  const element = log.message({ name: me, text, at: Date.now() }, { pending: true, mine: true });
  const item = { text, element, sentAt: 0 };
  pending.set(ref, item);
  deliver(ref, item);
  setText("");
});

$("leave").addEventListener("click", () => leave());
$("try-now").addEventListener("click", () => {
  if ($("status").dataset.state === "ended") enter(room, me);
  else connection?.tryNow();
  $("text").focus();
});

/* Where the keyboard covers the page instead of shrinking it, the page shrinks itself. */

visualViewport?.addEventListener("resize", () => {
  document.documentElement.style.setProperty("--height", `${visualViewport.height}px`);
  scrollTo(0, 0);
});

/* A reload comes back to where it was; a link to a room opens its door. */

const before = { room: keep.get(sessionStorage, "room"), name: keep.get(localStorage, "name") };
if (before.room && before.name && (!location.hash || location.hash === `#${before.room}`)) enter(before.room, before.name);
else showDoor();

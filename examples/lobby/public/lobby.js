// One socket for lobby and game: the server moves it between processes, the page only reads what
// the messages say.

const $ = (id) => document.getElementById(id);
const MARKS = { X: "×", O: "○", "": "" };
const RESULTS = {
  won: "You won.",
  lost: "You lost.",
  draw: "A draw.",
  gone: "Your opponent left.",
};

let socket = null;
let failures = 0;
let game = null;

const cells = Array.from({ length: 9 }, (_, index) => {
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", () => send({ type: "put", cell: index + 1 }));
  $("board").append(button);
  return button;
});

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function connect(name) {
  const secure = location.protocol === "https:";
  $("status").textContent = failures ? "Reconnecting…" : "Connecting…";
  socket = new WebSocket(`${secure ? "wss" : "ws"}://${location.host}/ws?name=${encodeURIComponent(name)}`);
  socket.onopen = () => { $("status").textContent = `Connected as ${name}`; };
  socket.onmessage = (event) => {
    failures = 0;
    receive(JSON.parse(event.data));
  };
  socket.onclose = () => {
    // Jitter: pages that were cut together do not come back together.
    const ceiling = Math.min(15_000, 500 * 2 ** failures++);
    $("status").textContent = "Reconnecting…";
    game = null;
    draw();
    setTimeout(connect, ceiling / 2 + Math.random() * (ceiling / 2), name);
  };
}

function receive(message) {
  if (message.type === "game") {
    game = message;
    if (!game.over) $("line").textContent = turnLine();
    show({ playing: !game.over });
  } else if (message.type === "waiting") {
    game = null;
    $("line").textContent = "Waiting for an opponent…";
    show({ waiting: true });
  } else if (message.type === "lobby") {
    $("line").textContent = RESULTS[message.result] ?? `Welcome, ${message.name}.`;
    show({});
  } else if (message.type === "count") {
    const people = message.here === 1 ? "1 person" : `${message.here} people`;
    const games = message.games === 1 ? "1 game" : `${message.games} games`;
    $("count").textContent = `${people} in the lobby, ${games} being played`;
  }
  draw();
}

function turnLine() {
  return game.turn === game.you ? `Your turn against ${game.against}` : `${game.against} is thinking…`;
}

function show({ playing = false, waiting = false }) {
  $("play").hidden = playing || waiting;
  $("play").textContent = game ? "Play again" : "Find an opponent";
  $("stop").hidden = !waiting;
  $("resign").hidden = !playing;
}

function draw() {
  const mine = game && !game.over && game.turn === game.you;
  cells.forEach((cell, index) => {
    const mark = game?.cells[index] ?? "";
    cell.textContent = MARKS[mark];
    cell.disabled = !mine || mark !== "";
    cell.classList.toggle("won", Boolean(game?.line?.includes(index + 1)));
    const where = `row ${Math.floor(index / 3) + 1}, column ${(index % 3) + 1}`;
    cell.setAttribute("aria-label", `${where}, ${{ X: "cross", O: "nought", "": "empty" }[mark]}`);
  });
}

$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  $("fault").textContent = name ? "" : "Tell us your name.";
  if (!name) return $("name").focus();
  $("door").hidden = true;
  $("table").hidden = false;
  draw();
  connect(name);
  $("play").focus();
});

$("play").addEventListener("click", () => send({ type: "play" }));
$("stop").addEventListener("click", () => send({ type: "stop" }));
$("resign").addEventListener("click", () => send({ type: "resign" }));
$("name").focus();

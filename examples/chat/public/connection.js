// A WebSocket that comes back: backoff with jitter, a try at once when the network or the tab
// returns, and one callback that says where it stands.
//
// States: "connecting", "open", "waiting" (with the time of the next try), "ended" (no more tries).

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
const OPENING_TIMEOUT = 10_000;

export class Connection {
  #url;
  #on;
  #socket = null;
  #failures = 0;
  #timer = 0;
  #ended = false;
  #wake = () => this.tryNow();
  #shown = () => document.visibilityState === "visible" && this.tryNow();

  /** `on`: { state(name, nextTry), frame(object), settled(event) → true if this close is final }. */
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#shown);
    this.#open();
  }

  send(object) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(object));
    return true;
  }

  /** Skips what is left of the wait. Nothing happens while connected or connecting. */
  tryNow() {
    if (this.#ended || this.#socket) return;
    clearTimeout(this.#timer);
    this.#open();
  }

  /** Drops a socket that seems dead and starts over. */
  restart() {
    const socket = this.#socket;
    if (!socket) return;
    this.#detach(socket);
    socket.close();
    this.#wait();
  }

  end(code = 1000) {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#shown);
    const socket = this.#socket;
    if (socket) {
      this.#detach(socket);
      socket.close(code);
    }
  }

  #open() {
    this.#on.state("connecting");
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.restart(), OPENING_TIMEOUT);

    socket.onopen = () => {
      clearTimeout(this.#timer);
      this.#on.state("open");
    };
    socket.onmessage = (event) => {
      this.#failures = 0;
      let frame;
      try {
        frame = JSON.parse(event.data);
      } catch {
        return;
      }
      this.#on.frame(frame);
    };
    socket.onclose = (event) => {
      clearTimeout(this.#timer);
      this.#detach(socket);
      if (this.#on.settled(event)) {
        this.end();
        this.#on.state("ended");
      } else {
        this.#wait();
      }
    };
  }

  #detach(socket) {
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (this.#socket === socket) this.#socket = null;
  }

  #wait() {
    clearTimeout(this.#timer);
    const ceiling = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures);
    this.#failures += 1;
    // Between half and all of it: clients that were cut together do not come back together.
    const wait = ceiling / 2 + Math.random() * (ceiling / 2);
    this.#timer = setTimeout(() => this.#open(), wait);
    this.#on.state("waiting", Date.now() + wait);
  }
}

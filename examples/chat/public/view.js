// What is on the screen. Everything that a person wrote becomes a text node, never markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, { text, className, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const SAME_BREATH = 5 * 60_000;

function hue(name) {
  let hash = 0;
  for (const character of name.toLowerCase()) hash = (hash * 31 + character.codePointAt(0)) % 360;
  return hash;
}

function dayOf(at) {
  const day = new Date(at).toDateString();
  if (day === new Date().toDateString()) return "Today";
  if (day === new Date(Date.now() - 86_400_000).toDateString()) return "Yesterday";
  return calendar.format(at);
}

// Addresses become links; the rest, whatever it looks like, stays text.
function words(text) {
  const parts = text.split(/(https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]])/);
  return parts.map((part, index) =>
    index % 2 ? make("a", { text: part, href: part, target: "_blank", rel: "noopener noreferrer nofollow" }) : part,
  );
}

/** The list of messages: keeps the reader at the end, unless they scrolled away from it. */
export class Log {
  #list = $("log");
  #newest = $("newest");
  #last = null; // { name, at } of the last message, for grouping
  #day = null;

  constructor() {
    this.#newest.addEventListener("click", () => this.toEnd());
    this.#list.addEventListener("scroll", () => {
      if (this.#atEnd()) this.#newest.hidden = true;
    }, { passive: true });
    // A keyboard that opens makes the list shorter: stay with the last message.
    let near = true;
    this.#list.addEventListener("scroll", () => { near = this.#atEnd(); }, { passive: true });
    new ResizeObserver(() => near && this.toEnd()).observe(this.#list);
  }

  clear() {
    this.#list.replaceChildren();
    this.#last = this.#day = null;
    this.#newest.hidden = true;
  }

  toEnd() {
    this.#list.scrollTop = this.#list.scrollHeight;
    this.#newest.hidden = true;
  }

  notice(text, at = Date.now()) {
    const line = make("p", { className: "notice", text });
    line.append(" ", this.#time(at));
    this.#add(line, at);
    this.#last = null;
  }

  /** Adds a message and gives its element. */
  message({ name, text, at }, { pending = false, mine = false } = {}) {
    const again = this.#last && this.#last.name === name && at - this.#last.at < SAME_BREATH && dayOf(at) === this.#day;
    const author = make("span", { className: "name", text: name });
    author.style.setProperty("--hue", hue(name));
    const element = make(
      "article",
      { className: `message${again ? " again" : ""}${pending ? " pending" : ""}` },
      make("header", { className: "head" }, author, this.#time(at)),
      make("div", { className: "words" }, ...words(text)),
    );
    this.#add(element, at, mine);
    this.#last = { name, at };
    return element;
  }

  #time(at) {
    return make("time", { text: clock.format(at), datetime: new Date(at).toISOString() });
  }

  #add(element, at, mine = false) {
    const follow = mine || this.#atEnd();
    const day = dayOf(at);
    if (day !== this.#day) {
      this.#list.append(make("p", { className: "day", text: day }));
      this.#day = day;
      element.classList.remove("again");
    }
    this.#list.append(element);
    while (this.#list.childElementCount > 500) this.#list.firstElementChild.remove();
    if (follow) this.toEnd();
    else this.#newest.hidden = false;
  }

  #atEnd() {
    return this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 48;
  }
}

/** Who is here, and the button that shows them on a phone. */
export class People {
  #panel = $("people");
  #button = $("people-button");
  #names = new Set();
  #you = "";

  constructor() {
    this.#button.addEventListener("click", () => this.#show(!this.#panel.classList.contains("shown")));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#panel.classList.contains("shown")) {
        this.#show(false);
        this.#button.focus();
      }
    });
    document.addEventListener("pointerdown", (event) => {
      if (!this.#panel.contains(event.target) && !this.#button.contains(event.target)) this.#show(false);
    });
  }

  set(names, you) {
    this.#names = new Set(names);
    this.#you = you;
    this.#draw();
  }

  has(name) {
    return this.#names.has(name);
  }

  add(name) {
    this.#names.add(name);
    this.#draw();
  }

  remove(name) {
    this.#names.delete(name);
    this.#draw();
  }

  #show(shown) {
    this.#panel.classList.toggle("shown", shown);
    this.#button.setAttribute("aria-expanded", String(shown));
  }

  #draw() {
    const names = [...this.#names].sort((a, b) => a.localeCompare(b));
    $("people-list").replaceChildren(
      ...names.map((name) => {
        const item = make("li", { text: name });
        if (name === this.#you) item.append(make("span", { className: "you", text: " (you)" }));
        return item;
      }),
    );
    this.#button.textContent = names.length === 1 ? "1 person" : `${names.length} people`;
  }
}

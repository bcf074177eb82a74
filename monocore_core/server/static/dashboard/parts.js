// Elements, icons and words. Whatever comes from the daemon becomes text, never markup: the policy of this page forbids more.

export function el(name, given = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) {
    if (key === "on") for (const [event, call] of Object.entries(value)) made.addEventListener(event, call);
    else if (key === "text") made.textContent = value;
    else if (key === "class") made.className = value;
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const SHAPES = {
  logo: "M12 3 20 7.5v9L12 21l-8-4.5v-9zM12 9.6a2.4 2.4 0 1 0 0 4.8 2.4 2.4 0 0 0 0-4.8z",
  play: "M8 5.5v13l10.5-6.5z", stop: "M7 7h10v10H7z",
  logs: "M5 6h14M5 10.5h14M5 15h9", terminal: "M5 7l5 5-5 5M12.5 17H19",
  trash: "M5 7h14M10 7V5h4v2M7 7l.8 12h8.4L17 7M10.5 10.5v5M13.5 10.5v5",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11", restart: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  grow: "M14 5h5v5M10 19H5v-5M19 5l-6 6M5 19l6-6", leave: "M14 6V4.5H5v15h9V18M10 12h10M17 9l3 3-3 3",
};

export function icon(name) {
  const NS = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(NS, "svg");
  const path = document.createElementNS(NS, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

export function button(shape, label, call, kind = "") {
  return el("button", { class: `tool ${kind}`, type: "button", title: label, "aria-label": label, on: { click: call } }, icon(shape));
}

export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function badge() {
  return el("span", { class: "badge" });
}

const TONES = {
  running: "good", up: "good", healthy: "good", completed: "calm", created: "calm", exited: "calm", down: "calm",
  stopped: "calm", paused: "warn", starting: "warn", stopping: "warn", restarting: "warn", unhealthy: "bad", failed: "bad",
};

export function tone(element, word, shown = word) {
  set(element, shown);
  element.dataset.tone = TONES[word] || "calm";
}

export function bytes(count) {
  if (count === undefined || count === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) [count, at] = [count / 1024, at + 1];
  return `${count >= 100 || at === 0 ? Math.round(count) : count.toFixed(1)} ${units[at]}`;
}

export function age(since, now) {
  if (!since) return "–";
  const seconds = Math.max(0, now - since);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

export function clock(time) {
  return new Date(time * 1000).toLocaleTimeString([], { hour12: false });
}

// Keep a container's children in the order of items: what is there already is changed in place, so that focus stays.
export function keyed(container, items, key, make) {
  const known = container.known || (container.known = new Map());
  const wanted = new Set();
  let place = null;
  for (const item of items) {
    const name = key(item);
    wanted.add(name);
    if (!known.has(name)) known.set(name, make(item));
    const row = known.get(name);
    row.update(item);
    const next = place ? place.nextSibling : container.firstChild;
    if (next !== row.root) container.insertBefore(row.root, next);
    place = row.root;
  }
  for (const [name, row] of known) {
    if (!wanted.has(name)) {
      row.root.remove();
      known.delete(name);
    }
  }
}

// A few words at the edge of the screen.
export function tell(error) {
  const box = document.getElementById("told");
  const note = el("div", { class: "note", role: "alert" }, el("strong", { text: error.message || String(error) }));
  if (error.hint) note.append(el("span", { text: error.hint }));
  note.append(button("close", "Dismiss", () => note.remove()));
  box.append(note);
  while (box.children.length > 4) box.firstChild.remove();
  setTimeout(() => note.remove(), 12000);
}

// Ask before something that cannot be undone.
export function sure(question, detail, verb) {
  return new Promise((answer) => {
    const dialog = el("dialog", { class: "sure" },
      el("h2", { text: question }), el("p", { text: detail }),
      el("div", { class: "choice" },
        el("button", { type: "button", text: "Cancel", on: { click: () => dialog.close("") } }),
        el("button", { type: "button", class: "danger", text: verb, on: { click: () => dialog.close("yes") } })));
    dialog.addEventListener("close", () => {
      answer(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// Run an action of a button, which waits meanwhile.
export function doing(call) {
  return async (event) => {
    const pressed = event.currentTarget;
    pressed.disabled = true;
    try {
      await call();
    } catch (error) {
      tell(error);
    } finally {
      pressed.disabled = false;
    }
  };
}

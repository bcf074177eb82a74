// The panel below: what a sandbox says, or a terminal in it.

import { FitAddon } from "/dashboard/xterm-fit.js";
import { Terminal } from "/dashboard/xterm.js";
import { lines, socket } from "/dashboard/wire.js";
import { button, el, set } from "/dashboard/parts.js";

const MOST_LINES = 5000, MOST_WAITING = 8 * 1024 * 1024;
// The usual sixteen are made for a dark ground.
const ON_LIGHT = {
  black: "#20242f", red: "#c02636", green: "#0b7a4b", yellow: "#8a6100", blue: "#2f56c9", magenta: "#9333a8", cyan: "#0e7490", white: "#5d6475",
  brightBlack: "#7a8194", brightRed: "#d43a4a", brightGreen: "#14935d", brightYellow: "#a67300", brightBlue: "#4a70e0", brightMagenta: "#aa4cc0",
  brightCyan: "#1789a6", brightWhite: "#3a4050",
};
const SHELL = "[ -x /bin/bash ] && exec /bin/bash -i; exec /bin/sh -i";
// Escape sequences (ECMA-48) and control characters: in a list of lines they mean nothing.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])|[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

export function panel() {
  const title = el("strong"), state = el("span", { class: "dim" }), body = el("div", { class: "body" });
  const choices = {};
  for (const kind of ["logs", "terminal"]) {
    choices[kind] = el("button", { type: "button", class: "choice", text: kind === "logs" ? "Logs" : "Terminal", on: { click: () => open(current, kind) } });
  }
  const grow = button("grow", "Larger or smaller", () => {
    root.classList.toggle("tall");
    window.dispatchEvent(new Event("resize"));
  });
  const root = el("aside", { class: "panel", hidden: true, "aria-label": "Logs and terminal" },
    el("header", {}, title, choices.logs, choices.terminal, state, el("span", { class: "space" }), grow, button("close", "Close", close)), body);
  let current = null, stop = () => {};

  function close() {
    stop();
    stop = () => {};
    root.hidden = true;
    document.body.classList.remove("with-panel");
    current = null;
  }

  function open(sandbox, kind) {
    stop();
    current = sandbox;
    set(title, sandbox.name);
    set(state, "");
    for (const [name, choice] of Object.entries(choices)) choice.setAttribute("aria-pressed", String(name === kind));
    choices.terminal.hidden = sandbox.state !== "running";
    body.replaceChildren();
    root.hidden = false;
    document.body.classList.add("with-panel");
    stop = (kind === "logs" ? showLogs : showTerminal)(sandbox, body, (text) => set(state, text));
  }
  return { root, open, close };
}

function path(sandbox, rest) {
  return `/v1/sandboxes/${encodeURIComponent(sandbox.id)}/${rest}`;
}

function showLogs(sandbox, body, say) {
  const leaving = new AbortController();
  const list = el("pre", { class: "logs", tabindex: "0" });
  body.append(list);
  let waiting = [], drawing = 0;
  function draw() {
    drawing = 0;
    const below = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(...waiting.slice(-MOST_LINES));
    waiting = [];
    while (list.childElementCount > MOST_LINES) list.firstElementChild.remove();
    if (below) list.scrollTop = list.scrollHeight;
  }
  function put(line) {
    const text = line.log === undefined ? `(${line.base64.length * 3 / 4 | 0} bytes that are not text)` : line.log.replace(ESCAPES, "");
    const time = el("time", { text: line.time.slice(11, 19), title: line.time });
    waiting.push(el("span", { class: line.stream }, time, `${text}\n`));
    if (waiting.length > 2 * MOST_LINES) waiting = waiting.slice(-MOST_LINES);
    if (!drawing) drawing = requestAnimationFrame(draw);
  }
  async function follow() {
    say("following");
    try {
      for await (const line of lines("GET", path(sandbox, "logs?format=json&follow=1&tail=1000"), undefined, leaving.signal)) put(line);
      say(list.childElementCount || waiting.length ? "that was all" : "it wrote nothing");
    } catch (error) {
      if (!leaving.signal.aborted) say(error.message);
    }
  }
  follow();
  return () => {
    leaving.abort();
    cancelAnimationFrame(drawing);
  };
}

// The terminal understands plain colours only, which an element has that is drawn in them.
function colours() {
  const probe = document.body.appendChild(el("i"));
  const colour = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const found = { background: colour("--screen"), foreground: colour("--screen-text"), cursor: colour("--accent"), cursorAccent: colour("--screen"), selectionBackground: colour("--select"),
    ...(matchMedia("(prefers-color-scheme: dark)").matches ? {} : ON_LIGHT) };
  probe.remove();
  return found;
}

function showTerminal(sandbox, body, say) {
  const screen = new Terminal({
    fontFamily: "ui-monospace, SFMono-Regular, Menlo, 'DejaVu Sans Mono', monospace", fontSize: 13, lineHeight: 1.2, scrollback: 5000,
    cursorBlink: true, theme: colours(), linkHandler: { activate() {} },
  });
  const fit = new FitAddon();
  screen.loadAddon(fit);
  const box = el("div", { class: "screen" });
  body.append(box);
  screen.open(box);
  fit.fit();
  const wire = socket(path(sandbox, "exec"));
  const send = (table) => wire.readyState === WebSocket.OPEN && wire.send(JSON.stringify(table));
  let waiting = 0, left = 0, over = false;

  function end(text) {
    if (over) return;
    over = true;
    say(text);
    screen.write(`\r\n\x1b[2m${text}\x1b[0m\r\n`);
    screen.options.disableStdin = true;
    screen.options.cursorBlink = false;
  }
  function show(data) {
    if (waiting > MOST_WAITING) {  // faster than it can be drawn, and the browser gives no way to slow it down
      left += data.length;
      return;
    }
    waiting += data.length;
    screen.write(data, () => (waiting -= data.length));
    if (left) screen.write(`\r\n\x1b[2m(${left} bytes left out)\x1b[0m\r\n`);
    left = 0;
  }
  wire.onopen = () => {
    say("connecting");
    send({ command: { args: ["/bin/sh", "-c", SHELL], entrypoint: [], env: ["TERM=xterm-256color"], stdin: true,
      terminal: { rows: screen.rows, columns: screen.cols } } });
  };
  wire.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) {
      const got = new Uint8Array(data);
      if (got.length > 1) show(got.subarray(1));
      return;
    }
    const told = JSON.parse(data);
    if (told.started) say("connected");
    if (told.error) end(told.error.detail);
    if (told.exit) end(`the shell ended with code ${told.exit.code}`);
  };
  wire.onclose = () => end("the connection has ended");
  const encoder = new TextEncoder();
  screen.onData((text) => {
    const typed = encoder.encode(text);
    const message = new Uint8Array(typed.length + 1);
    message.set(typed, 1);
    if (wire.readyState === WebSocket.OPEN) wire.send(message);
  });
  screen.onBinary((text) => {
    if (wire.readyState === WebSocket.OPEN) wire.send(Uint8Array.from(`\0${text}`, (one) => one.charCodeAt(0)));
  });
  screen.onResize(({ rows, cols }) => send({ resize: [rows, cols] }));
  const watching = new ResizeObserver(() => fit.fit());
  watching.observe(box);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => (screen.options.theme = colours());
  dark.addEventListener("change", recolour);
  screen.focus();
  return () => {
    over = true;
    watching.disconnect();
    dark.removeEventListener("change", recolour);
    wire.close();
    screen.dispose();
  };
}

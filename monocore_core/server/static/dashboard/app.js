// The page: who may see it, its four lists, and the panel. All that is shown comes in one answer that goes on, /v1/live.

import { arrive, forget, lines, Refused, use } from "/dashboard/wire.js";
import { button, el, icon, set, tell } from "/dashboard/parts.js";
import { denied, images, sandboxes, services } from "/dashboard/views.js";
import { panel } from "/dashboard/panel.js";

const LEVELS = ["read", "run", "admin"];
const app = document.getElementById("app");
let leaving = null;

function login(words = "", hint = "") {
  leaving?.abort();
  document.body.classList.remove("with-panel");
  const field = el("input", { type: "password", autocomplete: "off", spellcheck: "false", placeholder: "mc_…", "aria-label": "Token", required: true });
  const enter = (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (!/^[A-Za-z0-9_-]{1,200}$/.test(text)) return login("That is not a token.");
    use(text);
    begin();
  };
  app.replaceChildren(el("main", { class: "login" }, el("form", { class: "card", on: { submit: enter } },
    el("div", { class: "brand" }, icon("logo"), "monocore"),
    el("p", { class: words ? "wrong" : "dim", role: words ? "alert" : null, text: words || "A token is needed to see this daemon’s sandboxes." }),
    field, el("button", { class: "primary", text: "Enter" }),
    el("p", { class: "dim small" }, hint || "On the daemon’s own host: ", hint ? "" : el("code", { text: "monocore dashboard" }), hint ? "" : " opens this page without one."))));
  field.focus();
}

function frame() {
  const state = { sandboxes: [], projects: [], images: [], denied: [], figures: {}, more: 0, time: 0, access: { scope: "read" }, daemon: { version: "" } };
  const may = (scope) => LEVELS.indexOf(state.access.scope) >= LEVELS.indexOf(scope);
  const below = panel();
  const rooms = {
    sandboxes: ["Sandboxes", sandboxes(below.open, may), () => state.sandboxes.length + state.more],
    services: ["Services", services(below.open, may), () => state.projects.reduce((sum, one) => sum + one.services.length, 0)],
    images: ["Images", images(may), () => state.images.length],
    denied: ["Denied", denied(), () => state.denied.length],
  };
  const counts = {}, tabs = {};
  for (const [key, [title, view]] of Object.entries(rooms)) {
    counts[key] = el("span", { class: "count" });
    tabs[key] = el("button", { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": `room-${key}`, on: { click: () => choose(key) } }, title, counts[key]);
    Object.assign(view.root, { id: `room-${key}` });
    view.root.setAttribute("role", "tabpanel");
    view.root.setAttribute("aria-labelledby", `tab-${key}`);
  }
  const version = el("span", { class: "dim small" }), link = el("span", { class: "link", "data-state": "waiting", text: "connecting" });
  function choose(key) {
    for (const [name, [, view]] of Object.entries(rooms)) {
      view.root.hidden = name !== key;
      tabs[name].setAttribute("aria-selected", String(name === key));
    }
  }
  choose("sandboxes");
  app.replaceChildren(
    el("header", { class: "top" }, el("div", { class: "brand" }, icon("logo"), "monocore", version),
      el("nav", { role: "tablist", "aria-label": "Lists" }, ...Object.values(tabs)),
      el("div", { class: "status" }, link, button("leave", "Leave", () => { below.close(); forget(); login(); }))),
    el("main", {}, ...Object.values(rooms).map(([, view]) => view.root)), below.root);
  return {
    update(news) {
      Object.assign(state, news);
      set(version, state.daemon.version);
      for (const [key, [, view, count]] of Object.entries(rooms)) {
        view.update(state);
        set(counts[key], count() ? String(count()) : "");
      }
      const limited = (state.access.groups || []).length > 0;
      tabs.services.hidden = tabs.images.hidden = limited;
    },
    link(how, text) {
      link.dataset.state = how;
      set(link, text);
    },
  };
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function begin() {
  leaving?.abort();
  const mine = (leaving = new AbortController());
  let page = null, wait = 500;
  while (!mine.signal.aborted) {
    try {
      for await (const news of lines("GET", "/v1/live", undefined, mine.signal)) {
        page ||= frame();
        page.link("live", "live");
        page.update(news);
        wait = 500;
      }
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error instanceof Refused && error.status < 500) {
        forget();
        login(error.message, error.hint);
        return;
      }
      if (!page) return login(`The daemon does not answer: ${error.message}`);
    }
    page?.link("lost", "connecting again");
    await pause(wait);
    wait = Math.min(2 * wait, 10000);
  }
}

document.body.append(el("div", { id: "told" }));
window.addEventListener("unhandledrejection", (event) => tell(event.reason));
arrive().then((known) => (known ? begin() : login()), (error) => login(error.message, error.hint));

// The four lists: sandboxes, services, images, denied connections.

import { ask, finished } from "/dashboard/wire.js";
import { age, badge, button, bytes, clock, doing, el, keyed, set, sure, tone } from "/dashboard/parts.js";

const LIVE = new Set(["starting", "running", "paused", "stopping"]);
export const isLive = (one) => LIVE.has(one.state);
const of = (one, ...rest) => ["/v1/sandboxes", encodeURIComponent(one.id), ...rest].join("/");

function table(kind, ...heads) {
  const body = el("tbody");
  const head = el("tr", {}, ...heads.map((text) => el("th", { text, scope: "col" })));
  return [body, el("div", { class: `card list ${kind}` }, el("table", {}, el("thead", {}, head), body))];
}

function cell(kind, label, ...children) {
  return el("td", { class: kind, "data-label": label }, ...children);
}

function nothing(text, command) {
  return el("div", { class: "nothing card" }, el("p", { text }), el("code", { text: command }));
}

function whole(body, list, empty) {
  return (count) => {
    list.hidden = count === 0;
    empty.hidden = count !== 0;
  };
}

function name(text, more) {
  return el("div", { class: "name" }, text, more);
}

function sandboxRow(open, may) {
  return (first) => {
    let now = first;
    const parts = {
      state: badge(), name: el("strong"), image: el("span", { class: "dim mono" }), cpu: el("span"), meter: el("i"),
      memory: el("span"), ports: el("span", { class: "mono" }), age: el("span"), end: el("span", { class: "dim" }),
    };
    const tools = {
      terminal: button("terminal", "Terminal", () => open(now, "terminal")),
      logs: button("logs", "Logs", () => open(now, "logs")),
      start: button("play", "Start", doing(() => ask("POST", of(now, "start"), {}))),
      stop: button("stop", "Stop", doing(() => ask("POST", of(now, "stop"), {}))),
      remove: button("trash", "Remove", doing(async () => {
        const how = isLive(now) ? "It runs: it is killed first. " : "";
        if (await sure(`Remove ${now.name}?`, `${how}What it wrote on its own disk, and its logs, are gone then.`, "Remove")) {
          await ask("DELETE", `${of(now)}?force=1`);
        }
      }), "danger"),
    };
    const root = el("tr", {},
      cell("what", "", name(parts.name, parts.image)), cell("state", "State", parts.state, parts.end),
      cell("number", "CPU", parts.cpu), cell("number", "Memory", parts.memory, el("span", { class: "meter" }, parts.meter)),
      cell("ports", "Ports", parts.ports), cell("number age", "Up", parts.age), cell("tools", "", ...Object.values(tools)));
    return {
      root,
      update({ one, figures, time }) {
        now = one;
        const live = isLive(one), guest = figures && figures.guest;
        root.classList.toggle("quiet", !live);
        set(parts.name, one.name);
        set(parts.image, one.image);
        tone(parts.state, one.state);
        set(parts.end, one.end ? (one.end.reason === "exited" ? `code ${one.end.code}` : one.end.reason) : "");
        const cpu = figures && figures.rates && (figures.rates.guest_cpu ?? figures.rates.cpu);
        set(parts.cpu, live && cpu !== null && cpu !== undefined ? `${(100 * cpu).toFixed(cpu < 0.1 ? 1 : 0)} %` : "–");
        const used = guest ? guest.memory_total - guest.memory_available : null;
        set(parts.memory, live && used !== null ? bytes(used) : "–");
        parts.meter.style.width = live && used !== null ? `${Math.min(100, 100 * used / one.memory).toFixed(1)}%` : "0";
        parts.meter.parentNode.hidden = !live;
        parts.meter.parentNode.title = `of ${bytes(one.memory)}`;
        set(parts.ports, one.ports.join(", ") || "–");
        set(parts.age, live ? age(one.started, time) : one.ended ? `${age(one.ended, time)} ago` : "–");
        tools.start.hidden = live || !may("run");
        tools.stop.hidden = !live || !may("run");
        tools.terminal.hidden = one.state !== "running" || !may("run");
        tools.remove.hidden = !may("run");
      },
    };
  };
}

export function sandboxes(open, may) {
  const [body, list] = table("sandboxes", "Sandbox", "State", "CPU", "Memory", "Ports", "Up", "");
  const empty = nothing("No sandbox is here.", "monocore run -d alpine sleep 1000");
  const search = el("input", { type: "search", placeholder: "Filter by name, image or group", "aria-label": "Filter" });
  const ended = el("input", { type: "checkbox", id: "ended", checked: true });
  const tiles = {};
  const row = el("div", { class: "tiles" }, ...[["running", "running"], ["all", "in all"], ["cpu", "CPU"], ["memory", "memory used"]].map(
    ([key, label]) => el("div", { class: "tile card" }, (tiles[key] = el("b", { text: "–" })), el("span", { text: label }))));
  const more = el("p", { class: "dim" });
  const make = sandboxRow(open, may);
  const show = whole(body, list, empty);
  let latest = null;
  function update(state) {
    latest = state;
    const text = search.value.trim().toLowerCase();
    const shown = state.sandboxes.filter((one) => (ended.checked || isLive(one)) &&
      (!text || [one.name, one.image, one.id, ...Object.values(one.labels)].some((word) => word.toLowerCase().includes(text))));
    keyed(body, shown.map((one) => ({ one, figures: state.figures[one.id], time: state.time })), (item) => item.one.id, make);
    show(shown.length);
    set(empty.firstChild, state.sandboxes.length ? "No sandbox is like that." : "No sandbox is here.");
    empty.lastChild.hidden = state.sandboxes.length > 0;
    const figures = Object.values(state.figures);
    set(tiles.running, String(state.sandboxes.filter((one) => one.state === "running").length));
    set(tiles.all, String(state.sandboxes.length + state.more));
    const cpu = figures.reduce((sum, one) => sum + ((one.rates && (one.rates.guest_cpu ?? one.rates.cpu)) || 0), 0);
    set(tiles.cpu, `${(100 * cpu).toFixed(0)} %`);
    set(tiles.memory, bytes(figures.reduce((sum, one) => sum + (one.guest ? one.guest.memory_total - one.guest.memory_available : 0), 0)));
    set(more, state.more ? `${state.more} older ones are not shown.` : "");
  }
  for (const input of [search, ended]) input.addEventListener("input", () => latest && update(latest));
  const bar = el("div", { class: "bar" }, search, el("label", { class: "check", for: "ended" }, ended, "ended ones"));
  return { root: el("section", {}, row, bar, list, empty, more), update };
}

function serviceRow(open) {
  return () => {
    const state = badge(), title = el("strong"), image = el("span", { class: "dim mono" }), count = el("span");
    const instances = el("div", { class: "instances" });
    const root = el("tr", {}, cell("what", "", name(title, image)), cell("state", "State", state),
      cell("number", "Instances", count), cell("instances", "", instances));
    return {
      root,
      update(service) {
        set(title, service.name);
        set(image, service.instances.length ? service.instances[0].image : "");
        tone(state, service.state);
        const up = service.instances.filter((one) => one.state === "running").length;
        set(count, `${up} / ${service.replicas}`);
        keyed(instances, service.instances, (one) => one.id, (first) => {
          let now = first;
          const chip = el("button", { type: "button", class: "chip", on: { click: () => open(now, "logs") } });
          return {
            root: chip,
            update(one) {
              now = one;
              const health = one.health === "none" || !one.health ? "" : ` · ${one.health}`;
              tone(chip, one.health === "unhealthy" ? "unhealthy" : one.state, `${one.name}${health}`);
              chip.title = [one.state, one.health_detail || one.exit_detail, one.restarts ? `${one.restarts} restarts` : "",
                one.ports.join(", ")].filter(Boolean).join("\n");
            },
          };
        });
      },
    };
  };
}

export function services(open, may) {
  const holder = el("div", { class: "projects" });
  const empty = nothing("No services are up.", "monocore up");
  const make = (first) => {
    const [body, list] = table("services", "Service", "State", "Instances", "");
    const title = el("h2"), source = el("span", { class: "dim mono" }), busy = badge();
    const path = `/v1/projects/${encodeURIComponent(first.name)}`;
    const restart = button("restart", "Restart", doing(() => finished("POST", `${path}/restart`, {})));
    const down = button("stop", "Stop", doing(async () => {
      if (await sure(`Stop ${first.name}?`, "Every service of it is stopped.", "Stop")) await finished("POST", `${path}/down`, {});
    }));
    const row = serviceRow(open);
    return {
      root: el("section", { class: "project" }, el("header", {}, title, busy, source, el("span", { class: "space" }), restart, down), list),
      update(project) {
        set(title, project.name);
        set(source, project.source);
        tone(busy, "starting", project.busy);
        busy.hidden = !project.busy;
        restart.hidden = down.hidden = !may("admin");
        keyed(body, project.services, (one) => one.name, row);
      },
    };
  };
  return {
    root: el("section", {}, holder, empty),
    update(state) {
      keyed(holder, state.projects, (one) => one.name, make);
      empty.hidden = state.projects.length > 0;
    },
  };
}

export function images(may) {
  const [body, list] = table("images", "Image", "Platform", "Layers", "Size", "Pulled", "");
  const empty = nothing("No image is in the store.", "monocore pull alpine");
  const show = whole(body, list, empty);
  const make = (first) => {
    const title = el("strong"), digest = el("span", { class: "dim mono" });
    const platform = el("span"), layers = el("span"), size = el("span"), pulled = el("span");
    let now = first;
    const remove = button("trash", "Remove", doing(async () => {
      const known = now.references[0] || now.digest;
      if (await sure(`Remove ${known}?`, "It can be pulled again. Images that sandboxes use are kept.", "Remove")) {
        await ask("DELETE", `/v1/images/${encodeURIComponent(known)}`);
      }
    }), "danger");
    return {
      root: el("tr", {}, cell("what", "", name(title, digest)), cell("", "Platform", platform), cell("number", "Layers", layers),
        cell("number", "Size", size), cell("number age", "Pulled", pulled), cell("tools", "", remove)),
      update({ one, time }) {
        now = one;
        set(title, one.references.join(", ") || "without a name");
        set(digest, one.digest.replace(/^sha256:/, "").slice(0, 12));
        set(platform, one.platform);
        set(layers, String(one.layers));
        set(size, bytes(one.size));
        set(pulled, `${age(one.pulled, time)} ago`);
        remove.hidden = !may("admin");
      },
    };
  };
  return {
    root: el("section", {}, list, empty),
    update(state) {
      keyed(body, state.images.map((one) => ({ one, time: state.time })), (item) => item.one.digest, make);
      show(state.images.length);
    },
  };
}

export function denied() {
  const [body, list] = table("denied", "When", "Sandbox", "Destination", "Packets", "Rule");
  const empty = nothing("No connection was denied.", "monocore network");
  const show = whole(body, list, empty);
  const make = (one) => {
    const port = one.port ? `:${one.port}` : "";
    const host = one.destination.includes(":") && port ? `[${one.destination}]` : one.destination;
    const root = el("tr", {}, cell("number age", "When", clock(one.time)), cell("", "Sandbox", el("strong", { text: one.name || one.sandbox.slice(0, 12) })),
      cell("mono", "Destination", `${host}${port} ${one.protocol}`), cell("number", "Packets", String(one.count)), cell("rule dim", "Rule", one.rule));
    return { root, update() {} };
  };
  return {
    root: el("section", {}, list, empty),
    update(state) {
      keyed(body, state.denied, (one) => one.number, make);
      show(state.denied.length);
    },
  };
}

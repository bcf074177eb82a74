"use strict";
// Shows /v1/openapi.json. All text goes in as text: nothing of the document is taken for markup.

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function row(...cells) {
  return element("tr", "", ...cells.map((cell) => element("td", cell)));
}

function schemaOf(content) {
  const [type, media] = Object.entries(content)[0];
  return [type, media.schema || {}];
}

function shown(schema, all) {
  const name = (schema.$ref || "").split("/").pop();
  return name ? all[name] : schema;
}

function operation(method, path, route, all) {
  const code = element("code", path);
  const verb = element("span", method.toUpperCase());
  verb.className = "method";
  const made = element("details", "", element("summary", "", verb, code, ` ${route.summary}`));
  made.id = route.operationId;
  const parameters = (route.parameters || []).map((one) =>
    row(one.name, one.in + (one.required ? ", needed" : ""), one.description || "", JSON.stringify(one.schema)));
  if (parameters.length) made.append(element("h4", "Parameters"), element("table", "", ...parameters));
  if (route.requestBody) {
    const [type, schema] = schemaOf(route.requestBody.content);
    made.append(element("h4", `Body: ${type}`), element("pre", JSON.stringify(shown(schema, all), null, 2)));
  }
  const answers = Object.entries(route.responses).map(([status, one]) =>
    row(status, one.description, Object.keys(one.content || {}).join(", ")));
  made.append(element("h4", "Answers"), element("table", "", ...answers));
  return made;
}

async function show() {
  const answer = await fetch("/v1/openapi.json");
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const found = await answer.json();
  const main = document.getElementById("routes");
  const rooms = new Map();
  for (const [path, routes] of Object.entries(found.paths)) {
    for (const [method, route] of Object.entries(routes)) {
      const room = route.tags[0];
      if (!rooms.has(room)) rooms.set(room, []);
      rooms.get(room).push(operation(method, path, route, found.components.schemas));
    }
  }
  for (const [room, routes] of rooms) main.append(element("h2", room), ...routes);
  const about = document.getElementById("about");
  about.textContent = `Version ${found.info.version}, OpenAPI ${found.openapi}: `;
  const link = element("a", "openapi.json");
  link.href = "/v1/openapi.json";
  about.append(link);
}

show().catch((error) => {
  document.getElementById("about").textContent = `The document could not be read: ${error.message}`;
});

// Speaks with the daemon. The token is kept in memory and sent in a header: a cookie would go to every port of this host.
// Only the pass of `monocore dashboard` outlives a reload, for this tab and this port; it ends with that command.

const KEPT = "monocore-pass";
let token = "";

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || `The daemon answered with status ${status}.`);
    this.status = status;
    this.hint = problem.hint || "";
  }
}

export function use(text) {
  token = text;
}

export function forget() {
  token = "";
  sessionStorage.removeItem(KEPT);
}

// Whether there is something to begin with: a code in the address, or a pass from before a reload.
export async function arrive() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) {
    history.replaceState(null, "", location.pathname);
    token = (await ask("POST", "/dashboard/pass", { code })).token;
    sessionStorage.setItem(KEPT, token);
  } else {
    token = sessionStorage.getItem(KEPT) || "";
  }
  return token !== "";
}

async function request(method, path, body, signal) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, signal, cache: "no-store", credentials: "omit",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, problem);
}

export async function ask(method, path, body) {
  const answer = await request(method, path, body);
  return answer.status === 204 ? {} : answer.json();
}

const LONGEST = 16 * 1024 * 1024;

// The lines of an answer of NDJSON, as they come.
export async function* lines(method, path, body, signal) {
  const answer = await request(method, path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      if (rest.length > LONGEST) throw new Error("a line of the daemon's is too long");
      const whole = rest.split("\n");
      rest = whole.pop();
      for (const line of whole) if (line) yield JSON.parse(line);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// What an operation ends with: its last line says how.
export async function finished(method, path, body) {
  for await (const line of lines(method, path, body)) {
    if (line.error) throw new Refused(line.error.status, line.error);
  }
}

// A page cannot choose a WebSocket's headers but its protocols, so the token is offered as one; the server takes the other.
export function socket(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const made = new WebSocket(url, token ? ["monocore", `monocore-bearer.${token}`] : ["monocore"]);
  made.binaryType = "arraybuffer";
  return made;
}

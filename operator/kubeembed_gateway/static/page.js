// Draws what the gateway tells of its models, and tries texts against them. All text is set as text: whatever a name or a
// message holds, none of it is markup. Addresses are relative, so the page works behind a proxy's path as well.
"use strict";

const SHOWN_MODELS = 100, SHOWN_ADAPTERS = 8, MOST_TEXTS = 20, MIB = 1024 * 1024;
const STANDINGS = { Amiss: "In trouble", Starting: "Starting", Ready: "Ready", Asleep: "Asleep" };
const STAGES = { scheduleSeconds: "schedule", pullSeconds: "pull", weightsSeconds: "weights",
  importSeconds: "import", loadSeconds: "load", warmSeconds: "warm" };
const at = (id) => document.getElementById(id);

/** An element with classes and children; strings become text. */
function make(tag, classes = "", ...children) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  made.append(...children.filter((each) => each !== null && each !== ""));
  return made;
}

/** Text in which `code` stands between backticks. */
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? make("code", "", part) : part));
}

/** The nodes in their order. What stays is not touched, so that a selection in it stays as well. */
function settle(parent, nodes) {
  nodes.forEach((node, index) => {
    if (parent.childNodes[index] !== node) parent.insertBefore(node, parent.childNodes[index] ?? null);
  });
  while (parent.childNodes.length > nodes.length) parent.lastChild.remove();
}

const drawn = new Map();
/** What `draw` made of this value the last time, or makes of it now. */
function kept(key, value, draw) {
  const said = JSON.stringify(value);
  if (drawn.get(key)?.said !== said) drawn.set(key, { said, node: draw(value) });
  return drawn.get(key).node;
}

function number(value) {
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

function sums(told) {
  const { standings } = told;
  const rows = [["Models", told.models], ...Object.keys(STANDINGS).map((each) => [STANDINGS[each], standings[each], each]),
    ["Ready pods", told.pods], ["In hand", told.inHand], ["Held", told.held],
    ["Held MiB", `${number(told.bodyBytes / MIB)} of ${number(told.bodyBytesMost / MIB)}`]];
  return rows.map(([name, value, which]) => make("div", value ? which : "", make("dt", "", name),
    make("dd", "", typeof value === "number" ? number(value) : value)));
}

/** One curve over the hour. values: oldest first, the last of them now. */
function curve(values, most, points, closed) {
  const x = (index) => (600 * (points - values.length + index)) / (points - 1);
  const y = (value) => 60 - (58 * value) / most;
  const line = values.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`);
  if (closed && values.length) line.push(`L600 60L${x(0).toFixed(1)} 60Z`);
  return line.join("");
}

function plot(title, unit, curves, points) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const most = Math.max(0, ...curves.flatMap(([, , values]) => values));
  const add = (classes, path) => {
    const made = document.createElementNS(svg.namespaceURI, "path");
    made.setAttribute("class", classes);
    made.setAttribute("d", path);
    svg.append(made);
  };
  svg.setAttribute("viewBox", "0 0 600 60");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "plot");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${title} over the last hour: ${curves.map(([, name, values]) =>
    `${name} now ${values.at(-1) ?? 0}, at most ${Math.max(0, ...values)}`).join("; ")}`);
  add("axis", "M0 60H600");
  for (const [classes, , values] of curves) add(classes, curve(values, most || 1, points, classes === "held"));
  const caption = make("figcaption", "", ...curves.flatMap(([classes, name]) => [make("i", classes), name]));
  return make("figure", "", caption, svg,
    make("div", "scale", make("span", "", "1 h ago"), make("span", "", `at most ${number(most)} ${unit}`), make("span", "", "now")));
}

function facts(model) {
  const { ready, desired } = model.replicas, { inHand, held, perSecond } = model.load;
  const rows = [
    ["Replicas", desired === null ? `${ready} ready` : `${ready} of ${desired} ready`],
    ["Load", `${number(perSecond)}/s, ${inHand} in hand${held ? `, ${held} of them held` : ""}`],
    ["Last cold start", start(model.start)],
    ["Adapters", model.adapters.length ? adapters(model) : "none"]];
  return make("dl", "facts", ...rows.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
}

function start(told) {
  if (told.totalSeconds === undefined) return "none yet";
  const stages = Object.keys(STAGES).filter((each) => each in told).map((each) => `${STAGES[each]} ${number(told[each])}`);
  return `${number(told.totalSeconds)} s${stages.length ? ` (${stages.join(", ")})` : ""}`;
}

const rank = (adapter) => Object.keys(STANDINGS).indexOf(adapter.standing);

function adapters(model) {
  const chips = [...model.adapters].sort((one, two) => rank(one) - rank(two)).map((each) =>
    make("span", `pill ${each.standing}`, `${each.name} ${each.ready}${each.standing === "Ready" ? "" : ` ${each.reason}`}`));
  const more = chips.length - SHOWN_ADAPTERS;
  return make("div", "adapters", ...chips.slice(0, SHOWN_ADAPTERS), more > 0 ? make("span", "quiet", `and ${more} more`) : "");
}

function words(model) {
  const pill = model.standing === "Amiss" && model.trouble ? model.trouble.reason : STANDINGS[model.standing];
  const size = model.dimensions === null ? "" : `${model.dimensions} dimensions`;
  return make("div", "told",
    make("div", "name", make("h3", "", model.name), make("span", `pill ${model.standing}`, pill)),
    make("p", "quiet", [model.endpoint, size, model.keyed ? "asks for an API key" : "",
      model.guarded ? "only at its own address, for those whom its document names" : ""].filter(Boolean).join(" · ")),
    facts(model));
}

function troubles(model) {
  const amiss = model.adapters.filter((each) => each.standing !== "Ready" && each.message);
  if (!model.trouble && !amiss.length) return null;
  const lines = [];
  if (model.trouble) {
    const { reason, message, happened, wayOut } = model.trouble;
    lines.push(make("p", "", make("b", "", reason), `: ${message || happened}`));
    if (wayOut) lines.push(make("p", "", "Way out: ", ...prose(wayOut)));
  }
  for (const each of amiss) lines.push(make("p", "", make("b", "", `Adapter ${each.name}, ${each.reason}`), `: ${each.message}`));
  return make("div", `trouble ${model.standing}`, ...lines);
}

function card(model, points) {
  const { name, history, ...told } = model;
  const made = kept(`card ${name}`, model.namespace, () => make("article", "model"));
  made.className = `model ${model.standing}`;
  const nodes = [kept(`words ${name}`, { ...told, trouble: told.trouble?.reason }, () => words(model))];
  nodes.push(...(history ? [
    plot("Load", "in hand", [["inHand", "in hand", history.inHand], ["held", "held", history.held]], points),
    plot("Replicas", "ready", [["pods", "ready pods", history.pods]], points),
  ] : [make("p", "quiet", `No plots yet; this gateway pod keeps those of ${last.history.mostModels} models at most.`)]));
  const trouble = kept(`trouble ${name}`, [told.standing, told.trouble, told.adapters], () => troubles(model));
  settle(made, trouble ? [...nodes, trouble] : nodes);
  return made;
}

let last = null;

function draw() {
  const sought = at("find").value.trim().toLowerCase();
  const found = last.models.filter((each) => `${each.namespace}/${each.name}`.toLowerCase().includes(sought));
  at("sums").replaceChildren(...sums(last.sums));
  settle(at("models"), found.slice(0, SHOWN_MODELS).map((each) => card(each, last.history.points)));
  const rest = found.length - SHOWN_MODELS;
  at("more").textContent = rest > 0 ? `${rest} more are not shown; type a part of the name.`
    : last.models.length ? (found.length ? "" : "No model has that in its name.")
      : "There are no models yet. Apply an EmbeddingModel, and it is here.";
  choices(last.models.filter((each) => !each.guarded).flatMap((each) => [each.name, ...each.adapters.map(({ name }) => `${each.name}:${name}`)]).sort());
}

function choices(names) {
  const select = at("try").elements.model, before = select.value;
  if (names.join() === [...select.options].map((each) => each.value).join()) return;
  select.replaceChildren(...names.map((each) => new Option(each, each)));
  if (names.includes(before)) select.value = before;
}

async function look() {
  const seen = at("seen");
  try {
    const got = await fetch("data.json");
    if (!got.ok) throw new Error(`HTTP ${got.status}`);
    last = await got.json();
    const { name, version } = last.gateway;
    seen.textContent = `As ${name} (${version}) sees it, ${new Date().toLocaleTimeString()}`;
    seen.className = "";
    draw();
  } catch (error) {
    seen.textContent = `No answer from the gateway (${error.message}): what is below may be old`;
    seen.className = "old";
  }
  setTimeout(look, (last?.history.stepSeconds ?? 10) * 1000);
}

/** The sentence of an error, in whichever contract's words. */
async function sentence(got) {
  const body = await got.json().catch(() => ({}));
  const again = got.headers.get("Retry-After");
  const said = body.error?.message ?? body.message ?? body.detail?.message ?? body.error ?? got.statusText;
  return `${got.status}: ${said}${again ? ` (come again in ${again} s)` : ""}`;
}

async function vectors({ model, key, texts }, signal) {
  const headers = { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const body = JSON.stringify({ model, input: texts, encoding_format: "float" });
  const got = await fetch("../v1/embeddings", { method: "POST", headers, body, signal });
  if (!got.ok) throw new Error(await sentence(got));
  return (await got.json()).data.sort((one, two) => one.index - two.index).map((each) => each.embedding);
}

function cosine(one, two) {
  const dot = (left, right) => left.reduce((sum, value, index) => sum + value * right[index], 0);
  return dot(one, two) / Math.sqrt(dot(one, one) * dot(two, two));
}

function similarities(texts, made) {
  const head = make("tr", "", make("th", "", "cosine"), ...texts.map((_, index) => make("th", "", `${index + 1}`)));
  const rows = texts.map((text, row) => {
    const name = make("th", "", `${row + 1}  ${text}`);
    name.title = text;
    return make("tr", "", name, ...made.map((other) => {
      const value = cosine(made[row], other), cell = make("td", "", value.toFixed(3));
      cell.style.setProperty("--share", Math.max(0, Math.min(1, value)));
      return cell;
    }));
  });
  return make("table", "", make("thead", "", head), make("tbody", "", ...rows));
}

let asking = null;

async function compare(event) {
  event.preventDefault();
  asking?.abort();
  const mine = (asking = new AbortController());
  const { model, key, texts } = at("try").elements;
  const lines = texts.value.split("\n").map((each) => each.trim()).filter(Boolean);
  const say = (text, bad) => {
    at("said").textContent = text;
    at("said").className = bad ? "bad" : "";
  };
  at("similar").replaceChildren();
  if (!model.value) return say("There is no model to ask.", true);
  if (!lines.length || lines.length > MOST_TEXTS) return say(`${lines.length} texts: write 1 to ${MOST_TEXTS}, one per line.`, true);
  say("Waiting for the answer; a model that sleeps is started for it …");
  const begun = performance.now();
  try {
    const made = await vectors({ model: model.value, key: key.value.trim(), texts: lines }, mine.signal);
    at("similar").replaceChildren(similarities(lines, made));
    say(`${lines.length} texts, ${made[0].length} dimensions, ${Math.round(performance.now() - begun)} ms`);
  } catch (error) {
    if (!mine.signal.aborted) say(error.message, true);
  }
}

at("find").addEventListener("input", () => last && draw());
at("try").addEventListener("submit", compare);
look();

"use strict";
// The item browser. Text from the data only ever becomes text nodes; a task's items are read when it is chosen.
(() => {
  const PAGE = 25;
  const PROMPT = 1200;
  const byId = (id) => document.getElementById(id);
  const list = byId("items-list");
  if (!list) return;
  const index = JSON.parse(byId("items-index").textContent);
  const controls = { task: byId("f-task"), a: byId("f-a"), b: byId("f-b"), show: byId("f-show"), sort: byId("f-sort"), find: byId("f-find") };
  const loaded = new Map();
  let found = [];
  let page = 0;

  // Characters that are drawn as nothing, or that turn the text around them, are shown by their number.
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  const visible = (text) => text.replace(HIDDEN, (c) => "\u27e8U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "\u27e9");
  const make = (name, kind, text) => {
    const node = document.createElement(name);
    if (kind) node.className = kind;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const option = (value, text) => { const node = make("option", "", visible(text)); node.value = value; return node; };

  function task() {
    const number = Number(controls.task.value);
    if (!loaded.has(number)) {
      const block = JSON.parse(byId("items-" + number).textContent);
      block.search = null;
      loaded.set(number, block);
    }
    return loaded.get(number);
  }
  const prompts = (block, item) => (item.contexts || []).map((text) => block.prefix + text);
  function searchable(block) {
    if (!block.search) block.search = block.items.map((item) =>
      [item.id, item.domain, item.cluster, ...(item.contexts || []), ...(item.choices || [])].join("\n").toLowerCase());
    return block.search;
  }
  // credits: 1 right, between 0 and 1 a tie, 0 wrong
  const FILTERS = {
    all: () => true,
    right: (a) => a === 1,
    wrong: (a) => a === 0,
    tied: (a) => a > 0 && a < 1,
    truncated: (a, b, item) => item.truncated,
    changed: (a, b) => a !== b,
    gained: (a, b) => b > a,
    lost: (a, b) => b < a,
    other: (a, b, item, x, y) => String(item.best[x]) !== String(item.best[y]),
  };
  function margin(item, run) {
    const scores = item.scores[run];
    const rest = scores.filter((_, k) => k !== item.label);
    return rest.length ? scores[item.label] - Math.max(...rest) : 0;
  }
  function fillTask() {
    const block = task();
    for (const [select, chosen] of [[controls.a, 0], [controls.b, block.runs.length > 1 ? 1 : 0]]) {
      const before = select.value;
      select.replaceChildren(...block.runs.map((run, k) => option(String(k), index.runs[run])));
      select.value = before && Number(before) < block.runs.length ? before : String(chosen);
    }
    const pair = block.runs.length > 1;
    controls.b.closest("label").hidden = !pair;
    for (const node of controls.show.options) node.disabled = !pair && ["changed", "gained", "lost", "other"].includes(node.value);
    if (controls.show.selectedOptions[0].disabled) controls.show.value = "all";
    byId("items-note").textContent = block.note || "";
    filter();
  }
  function filter() {
    const block = task();
    const x = Number(controls.a.value), y = Number(controls.b.value);
    const keep = FILTERS[controls.show.value];
    const words = controls.find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const texts = words.length ? searchable(block) : null;
    found = [];
    block.items.forEach((item, k) => {
      if (!keep(item.credits[x], item.credits[y], item, x, y)) return;
      if (texts && !words.every((word) => texts[k].includes(word))) return;
      found.push(k);
    });
    const order = controls.sort.value;
    if (order !== "order") {
      const key = order === "difference"
        ? (k) => Math.abs(margin(block.items[k], y) - margin(block.items[k], x))
        : (k) => margin(block.items[k], x);
      const keys = new Map(found.map((k) => [k, key(k)]));
      const sign = order === "surest" || order === "difference" ? -1 : 1;
      found.sort((p, q) => sign * (keys.get(p) - keys.get(q)) || p - q);
    }
    page = 0;
    draw();
  }
  function verdict(block, item, run) {
    const credit = item.credits[run];
    const word = credit === 1 ? "right" : credit === 0 ? "wrong" : "tie " + credit.toFixed(2);
    const name = block.runs.length > 1 ? visible(index.runs[block.runs[run]]) + ": " : "";
    return make("span", "tag " + (credit === 1 ? "right" : credit === 0 ? "wrong" : ""), name + word);
  }
  function prompt(text) {
    const pre = make("pre", "", visible(text));
    pre.dir = "auto";
    if (text.length <= PROMPT) return pre;
    const box = make("div");
    const short = make("pre", "", "\u2026" + visible(text.slice(-PROMPT)));
    short.dir = "auto";
    const more = make("details");
    more.append(make("summary", "", "the whole prompt, " + text.length.toLocaleString("en") + " characters"), pre);
    box.append(more, short);
    return box;
  }
  function card(block, item) {
    const shown = block.runs.length > 1 && controls.a.value !== controls.b.value ? [Number(controls.a.value), Number(controls.b.value)] : [Number(controls.a.value)];
    const node = make("article");
    const head = make("header");
    head.append(make("b", "", visible(String(item.id))));
    for (const text of [item.domain, item.cluster]) if (text) head.append(make("span", "any", visible(text)));
    shown.forEach((run) => head.append(verdict(block, item, run)));
    if (item.truncated) head.append(make("span", "tag", "cut to the model's length"));
    node.append(head);
    const texts = prompts(block, item);
    if (texts.length === 1) node.append(prompt(texts[0]));
    const table = make("table");
    const top = make("tr");
    top.append(make("th", "t", texts.length > 1 ? "context and choice" : "choice"));
    shown.forEach((run) => {
      const name = shown.length > 1 ? visible(index.runs[block.runs[run]]) + " " : "";
      top.append(make("th", "", name + block.metric));
      if (block.metric !== "acc_raw") top.append(make("th", "", "log-probability"));
    });
    const thead = make("thead");
    thead.append(top);
    const body = make("tbody");
    item.scores[0].forEach((_, k) => {
      const row = make("tr", k === item.label ? "gold" : "");
      const choice = item.choices ? item.choices[k] : "choice " + k;
      const cell = make("td", "text", visible(texts.length > 1 ? texts[k] + " \u2503" + choice : choice));
      cell.dir = "auto";
      row.append(cell);
      shown.forEach((run) => {
        const best = item.best[run].includes(k);
        row.append(make("td", best ? "best" : "", item.scores[run][k].toFixed(3) + (best ? " \u25c0" : "")));
        if (block.metric !== "acc_raw") row.append(make("td", "", item.log_probabilities[run][k].toFixed(2)));
      });
      body.append(row);
    });
    table.append(thead, body);
    const rows = make("div", "rows");
    rows.append(table);
    node.append(rows);
    return node;
  }
  function draw() {
    const block = task();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((k) => card(block, block.items[k])));
    const count = found.length.toLocaleString("en") + " of " + block.items.length.toLocaleString("en") + " items";
    byId("items-count").textContent = count + ", page " + (page + 1) + " of " + pages.toLocaleString("en");
    for (const button of document.querySelectorAll("[data-turn]")) {
      const turn = button.dataset.turn;
      button.disabled = turn === "first" || turn === "back" ? page === 0 : page === pages - 1;
    }
  }
  function turn(where) {
    page = { first: 0, back: page - 1, next: page + 1, last: Infinity }[where];
    draw();
    byId("items").scrollIntoView();
  }
  for (const button of document.querySelectorAll("[data-turn]")) button.addEventListener("click", () => turn(button.dataset.turn));
  let waiting = 0;
  controls.find.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 200); });
  controls.task.replaceChildren(...index.tasks.map((name, k) => option(String(k), name)));
  controls.task.addEventListener("change", fillTask);
  for (const name of ["a", "b", "show", "sort"]) controls[name].addEventListener("change", filter);
  byId("items-form").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
    if (event.key === "/") { event.preventDefault(); controls.find.focus(); }
    if (event.key === "n") turn("next");
    if (event.key === "p") turn("back");
  });
  byId("items-browser").hidden = false;
  fillTask();
})();

"use strict";
// Reads the JSON beside it and builds nodes; text from data enters by textContent alone.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const PAGE = 48;
const judge = data.judge;
const byId = (id) => document.getElementById(id);
const words = (name) => name.replaceAll("_", " ");
const count = (number) => number.toLocaleString("en");
let threshold = judge ? judge.threshold : 0;

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function draw(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// --- judge ------------------------------------------------------------------------------------------------------------

function at(task, step) {
  const verdicts = judge.passing[task];
  const right = verdicts.right[step], wrong = verdicts.wrong[step];
  return {
    pass: right + wrong + verdicts.unknown[step],
    precision: right + wrong ? right / (right + wrong) : null,
    recall: verdicts.right[0] ? right / verdicts.right[0] : null,
  };
}

function showJudge() {
  const step = Math.ceil(threshold * judge.thresholds - 1e-9);
  const share = (value) => (value === null ? "–" : (value * 100).toFixed(1) + " %");
  const tasks = Object.keys(judge.passing).filter((task) => task).concat([""]);
  byId("judge-rows").replaceChildren(...tasks.map((task) => {
    const now = at(task, step);
    const row = make("tr", task ? "" : "total");
    const head = make("th", "", task ? words(task) : "all tasks");
    head.scope = "row";
    row.append(head, make("td", "num", count(now.pass)), make("td", "num", share(now.precision)), make("td", "num", share(now.recall)));
    return row;
  }));
  byId("threshold").value = threshold;
  byId("threshold-value").textContent = threshold.toFixed(3);
  const all = at("", step), marker = document.querySelector("#curve .marker"), frame = judge.frame;
  marker.setAttribute("visibility", all.precision === null ? "hidden" : "visible");
  if (all.precision === null || all.recall === null) return;
  const part = (value, ends) => Math.min(1, Math.max(0, (value - ends[0]) / (ends[1] - ends[0])));
  marker.setAttribute("cx", frame.left + part(all.recall, frame.x) * (frame.width - frame.left - frame.right));
  marker.setAttribute("cy", frame.height - frame.bottom - part(all.precision, frame.y) * (frame.height - frame.top - frame.bottom));
}

function setThreshold(value) {
  threshold = value;
  showJudge();
  if (data.gallery) showGallery();
}

// --- gallery ----------------------------------------------------------------------------------------------------------

const TRUTH = { right: "✓ true", wrong: "✗ false", unknown: "truth unknown" };
const rows = data.gallery ? data.gallery.rows : [];
let visible = PAGE;

const outcome = (row) => (row.outcome === "kept" ? "kept" : row.outcome + ": " + words(row.reason));
const scoreOf = (row) => (judge && judge.score in row.scores ? row.scores[judge.score] : null);

// Kept rows fall below a raised threshold. Of the rejected ones only those that the judge refused can
// come back; a filter's reasons begin with its name.
function flips(row) {
  const score = scoreOf(row);
  if (score === null) return false;
  if (row.outcome === "kept") return score < threshold;
  return row.reason.startsWith(judge.score) && score >= threshold;
}

function picture(row) {
  const holder = make("div", "picture");
  const source = row.image < 0 ? "" : data.gallery.pictures[row.image];
  if (!source.startsWith("data:image/")) {
    holder.append(make("span", "none", "no picture"));
    return holder;
  }
  // One drawing holds picture and boxes, so that they share the frame of the un-padded image at any size.
  const [width, height] = row.size;
  const frame = draw("svg", { class: "frame", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "picture with boxes" });
  frame.append(draw("image", { href: source, width, height, preserveAspectRatio: "none" }));
  row.marks.forEach((mark, index) => ["halo", `mark-${index % 6}`].forEach((style) => frame.append(shape(mark, row.size, style))));
  holder.append(frame);
  return holder;
}

function shape(mark, [width, height], style) {
  if (mark.length === 2) {
    return draw("circle", { class: style, cx: mark[0] * width, cy: mark[1] * height, r: Math.max(width, height) / 40 });
  }
  const [x0, y0, x1, y1] = mark;
  return draw("rect", { class: style, x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height });
}

function sentence(turn, row) {
  const line = make("p", turn.role === "user" ? "user" : turn.role === "assistant" ? "assistant" : "raw");
  for (const part of turn.parts) {
    if (typeof part === "string") {
      line.append(part);
      continue;
    }
    const numbers = row.marks[part].map((value) => value.toFixed(3)).join(", ");
    const chip = make("span", `mark mark-${part % 6}`, (row.marks[part].length === 2 ? "point " : "box ") + (part + 1));
    chip.title = numbers;
    line.append(chip);
  }
  return line;
}

function card(row) {
  const node = make("article", "card"), body = make("div", "body"), tags = make("div", "tags");
  tags.append(make("span", "", words(row.task) + (row.mode ? " · " + row.mode : "")));
  if (row.truth !== "unknown") {
    const truth = make("span", "truth " + row.truth, TRUTH[row.truth]);
    truth.title = row.detail;
    tags.append(truth);
  }
  const talk = make("div", "words");
  talk.tabIndex = 0;
  talk.append(...row.words.map((turn) => sentence(turn, row)));
  body.append(tags, talk);
  const scores = Object.entries(row.scores);
  if (scores.length) {
    const line = make("div", "scores");
    line.append(...scores.map(([name, value]) => make("span", "", `${words(name)} ${value === null ? "–" : value.toFixed(3)}`)));
    body.append(line);
  }
  const fate = make("p", "fate " + row.outcome, row.outcome === "kept" ? "kept" : `${row.outcome}: ${words(row.reason)}`);
  const notes = [row.outcome !== "kept" && row.step ? "at " + row.step : "", row.truth === "wrong" ? row.detail : "", flips(row) ? "flips at this threshold" : ""];
  const note = notes.filter(Boolean).join(" · ");
  if (note) fate.append(make("small", "", note));
  body.append(fate);
  node.append(picture(row), body);
  node.dataset.id = row.id;
  return node;
}

function matches(row, form) {
  const is = (name, value) => !form.elements[name].value || form.elements[name].value === value;
  const sought = form.elements.words.value.trim().toLowerCase();
  const text = () => row.id + " " + row.words.map((turn) => turn.parts.filter((part) => typeof part === "string").join(" ")).join(" ");
  return is("task", row.task) && is("mode", row.mode) && is("outcome", outcome(row)) && is("truth", row.truth)
    && (!form.elements.flips.checked || flips(row)) && (!sought || text().toLowerCase().includes(sought));
}

function showGallery() {
  const form = byId("filters"), order = form.elements.order.value;
  const chosen = rows.filter((row) => matches(row, form));
  if (order) {
    const sign = order === "low" ? 1 : -1;
    const key = (row) => scoreOf(row) ?? (order === "low" ? Infinity : -Infinity);
    chosen.sort((a, b) => sign * (key(a) - key(b)) || 0);
  }
  const shown = chosen.slice(0, visible);
  byId("cards").replaceChildren(...shown.map(card));
  byId("shown").textContent = chosen.length === rows.length
    ? `${count(shown.length)} of ${count(rows.length)} shown` : `${count(chosen.length)} of ${count(rows.length)} match, ${count(shown.length)} shown`;
  byId("more").hidden = shown.length === chosen.length;
  byId("flip-value").textContent = threshold.toFixed(3);
}

function fillFilters(form) {
  const fill = (name, value, label) => {
    const totals = new Map();
    for (const row of rows) totals.set(value(row), (totals.get(value(row)) ?? 0) + 1);
    for (const [key, total] of [...totals].filter(([key]) => key).sort(([a], [b]) => a.localeCompare(b))) {
      const option = make("option", "", `${label(key)} (${total})`);
      option.value = key;
      form.elements[name].append(option);
    }
  };
  fill("task", (row) => row.task, words);
  fill("mode", (row) => row.mode, words);
  fill("outcome", outcome, (key) => key);
  fill("truth", (row) => row.truth, (key) => TRUTH[key]);
  form.elements.flips.closest("label").hidden = !judge;
}

if (judge) {
  byId("threshold").addEventListener("input", (event) => setThreshold(Number(event.target.value)));
  byId("threshold-reset").addEventListener("click", () => setThreshold(judge.threshold));
  showJudge();
}
if (rows.length) {
  const form = byId("filters");
  fillFilters(form);
  const restart = () => { visible = PAGE; showGallery(); };
  form.addEventListener("change", restart);
  form.elements.words.addEventListener("input", restart);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(restart));
  byId("more").addEventListener("click", () => { visible += PAGE; showGallery(); });
  showGallery();
}

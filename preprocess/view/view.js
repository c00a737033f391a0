// The page of runs: their rows of metrics.jsonl as curves, and their pages of samples side by side.

const POLL_MS = 2000;
const MOST_POINTS = 800; // of a line: more are not told apart
const WIDTH = 380, HEIGHT = 190, LEFT = 52, RIGHT = 8, TOP = 8, BOTTOM = 30;
// Okabe and Ito's colours, told apart by the colour-blind too; black last.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
const SVG = "http://www.w3.org/2000/svg";

const form = document.getElementById("runs");
if (form) start();

function start() {
  const runs = new Map(); // name -> {file, start, rows, samples, colour}
  const names = [...form.querySelectorAll("[name=run]")].map((box) => box.value);
  names.forEach((name, place) =>
    runs.set(name, { file: "", start: 0, rows: [], samples: [], colour: COLOURS[place % COLOURS.length] }));
  const chosen = () => names.filter((_, place) => form.querySelectorAll("[name=run]")[place].checked);
  const page = document.getElementById("page");

  async function read() {
    let changed = false, failed = "";
    for (const name of chosen()) {
      try {
        changed = (await readRun(form.dataset.base, name, runs.get(name))) || changed;
      } catch (error) {
        failed = `${name} cannot be read (${error.message}): nlbs-preprocess view may have ended`;
      }
    }
    const rows = chosen().reduce((sum, name) => sum + runs.get(name).rows.length, 0);
    const count = chosen().length;
    const said = failed || `${rows.toLocaleString("en")} rows of ${count} run${count === 1 ? "" : "s"}`;
    const line = document.getElementById("said");
    if (line.textContent !== said) line.textContent = said;
    if (changed) show();
  }

  function show() {
    const shown = new Map(chosen().map((name) => [name, runs.get(name)]));
    drawCurves(shown, document.getElementById("log").checked);
    offerPages(page, shown);
    showSamples(document.getElementById("samples"), shown, page.value, form.dataset.base);
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => { show(); read(); });
  page.addEventListener("change", show);
  read();
  setInterval(() => { if (document.getElementById("live").checked && !document.hidden) read(); }, POLL_MS);
}

/** Read on where a run was left; say whether there was anything new. A run that continues may begin a new file. */
async function readRun(base, name, run) {
  let changed = false, more = true;
  while (more) {
    const query = new URLSearchParams({ run: name, file: run.file, start: run.start });
    const answer = await fetch(`${base}metrics?${query}`);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const found = await answer.json();
    if (found.file !== run.file) run.rows = [];
    changed = changed || found.rows.length > 0 || found.file !== run.file
      || found.samples.length !== run.samples.length;
    run.rows.push(...found.rows);
    Object.assign(run, { file: found.file, start: found.start, samples: found.samples });
    more = found.more;
  }
  return changed;
}

/** Give panel -> lines; training and validation of a term share a panel over epochs. */
function panelsOf(shown) {
  const panels = new Map();
  for (const [name, run] of shown) {
    for (const row of run.rows) {
      const of_epoch = row.kind === "epoch";
      for (const [key, value] of Object.entries(row)) {
        if (["kind", "step", "epoch"].includes(key)) continue;
        const [, part, term] = (of_epoch && key.match(/^(train|val)_(.*)$/)) || [null, "", key];
        const title = part ? `${term}, by epoch` : `${row.kind} ${key}`;
        if (!panels.has(title)) panels.set(title, { by: of_epoch ? "epoch" : "step", lines: new Map() });
        const lines = panels.get(title).lines, label = part ? `${name} ${part}` : name;
        if (!lines.has(label)) {
          lines.set(label, { colour: run.colour, dashed: part === "train", points: [] });
        }
        lines.get(label).points.push([of_epoch ? row.epoch + 1 : row.step, value]);
      }
    }
  }
  return panels;
}

/** Draw the panels: epochs, and before the first one has ended all there is; the others stand folded up. */
function drawCurves(shown, logarithmic) {
  const panels = [...panelsOf(shown)], judged = panels.filter(([, panel]) => panel.by === "epoch");
  const further = judged.length ? panels.filter(([, panel]) => panel.by !== "epoch") : [];
  for (const [place, some] of [["curves", judged.length ? judged : panels], ["further", further]]) {
    document.getElementById(place).replaceChildren(...some.map(([title, panel]) => curve(title, panel, logarithmic)));
  }
  document.getElementById("folded").hidden = !further.length;
}

function curve(title, { by, lines }, wanted) {
  const known = [...lines.values()].flatMap((line) => line.points).filter(([, y]) => Number.isFinite(y));
  const figure = element("figure", { class: "curve" });
  const caption = element("figcaption");
  caption.append(element("strong", {}, title));
  if (!known.length) return caption.append("\nno value that is finite"), figure.append(caption), figure;
  const log = wanted && known.every(([, y]) => y > 0);
  const scale = (y) => (log ? Math.log10(y) : y);
  const [x0, x1] = ends(known.map(([x]) => x)), [y0, y1] = ends(known.map(([, y]) => scale(y)));
  const at = (x, y) => [LEFT + ((x - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT),
    TOP + (1 - (scale(y) - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM)];
  const last = [...lines].map(([label, line]) => `${label} ${number(line.points.at(-1)[1])}`).join("; ");
  const svg = node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img",
    "aria-label": `${title}. Last values: ${last}` });
  for (const tick of ticks(y0, y1)) {
    const y = TOP + (1 - (tick - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
    svg.append(node("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
      node("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, number(log ? 10 ** tick : tick)));
  }
  for (const tick of ticks(x0, x1).filter((x) => Number.isInteger(x))) {
    svg.append(node("text", { x: at(tick, known[0][1])[0], y: HEIGHT - 16, "text-anchor": "middle" },
      tick.toLocaleString("en")));
  }
  svg.append(node("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, by));
  const legend = element("div", { class: "legend" });
  for (const [label, line] of lines) {
    svg.append(node("path", { d: path(line.points, at), stroke: line.colour,
      "stroke-dasharray": line.dashed ? "4 3" : "none" }));
    const named = element("div"), swatch = element("span", { class: "swatch" });
    swatch.style.borderTop = `2px ${line.dashed ? "dashed" : "solid"} ${line.colour}`;
    named.append(swatch, `${label}: ${number(line.points.at(-1)[1])}`);
    legend.append(named);
  }
  caption.append(legend);
  figure.append(svg, caption);
  return figure;
}

/** Give the path of a line; where a value is not finite it breaks off. */
function path(points, at) {
  const every = Math.ceil(points.length / MOST_POINTS);
  let drawn = "", broken = true;
  points.forEach(([x, y], place) => {
    if (place % every && place < points.length - 1) return;
    if (!Number.isFinite(y)) { broken = true; return; }
    const [across, down] = at(x, y);
    // A point by itself is a short stroke.
    drawn += broken ? `M${(across - 1).toFixed(1)} ${down.toFixed(1)}h1` : `L${across.toFixed(1)} ${down.toFixed(1)}`;
    broken = false;
  });
  return drawn;
}

function ends(values) {
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

/** Give three to six round numbers between two. */
function ticks(low, high) {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((round) => power * round >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step); tick * step <= high; tick += 1) found.push(Number((tick * step).toPrecision(12)));
  return found;
}

function offerPages(select, shown) {
  const names = [...new Set([...shown.values()].flatMap((run) => run.samples))].sort().reverse();
  const offered = [...select.options].slice(1).map((option) => option.value);
  if (names.join() === offered.join()) return;
  const before = select.value;
  select.replaceChildren(select.options[0], ...names.map((name) => element("option", { value: name }, name.replace(".png", ""))));
  select.value = names.includes(before) ? before : "";
}

function showSamples(place, shown, wanted, base) {
  const figures = [...shown].map(([name, run]) => {
    const file = wanted || run.samples.at(-1), figure = element("figure");
    const there = run.samples.includes(file);
    if (there) {
      const query = new URLSearchParams({ run: name, file }), source = `${base}sample.png?${query}`;
      const link = element("a", { href: source, target: "_blank" });
      link.append(element("img", { src: source, alt: `Samples of ${name}, ${file}` }));
      figure.append(link);
    }
    figure.append(element("figcaption", {}, `${name}: ${there ? file.replace(".png", "") : "no such page of samples"}`));
    return figure;
  });
  // Pictures that are there already stay, so that they do not flicker.
  if (figures.map((figure) => figure.outerHTML).join() !== [...place.children].map((figure) => figure.outerHTML).join()) {
    place.replaceChildren(...figures);
  }
}

function number(value) {
  if (!Number.isFinite(value)) return "not finite";
  return Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3)
    ? value.toExponential(1) : Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 6 });
}

function element(name, attributes = {}, text = "") {
  return filled(document.createElement(name), attributes, text);
}

function node(name, attributes = {}, text = "") {
  return filled(document.createElementNS(SVG, name), attributes, text);
}

function filled(made, attributes, text) {
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.textContent = text;
  return made;
}

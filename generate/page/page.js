// What a visitor of the page meets: controls, pictures, and a sheet to save. After sampler.js, before quiz.js.

// Elements -----------------------------------------------------------------------------------------------------------

function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

function labelled(text, control) {
  return el("label", {}, el("span", {}, text), control);
}

function download(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Controls -----------------------------------------------------------------------------------------------------------

function wordOf(condition, values) {
  if (!isKnown(values)) return `${condition.label}?`;
  if (condition.kind === "binary") return `${values[0] ? "" : "no "}${condition.label}`;
  if (condition.coded) return `${condition.label} ${condition.values[values[0]]}`;
  if (condition.kind === "continuous") return `${condition.label} ${values.join(", ")}`;
  return condition.values.filter((_, place) => values[place]).join(", ") || `no ${condition.label}`;
}

// A control of a condition; `control.read()` gives its values.
function controlOf(condition, prefix) {
  const { label, kind, values, low, high } = condition;
  let control;
  if (condition.coded) {
    const options = values.map((word, code) => el("option", { value: code }, word));
    const select = el("select", { id: prefix + condition.name }, el("option", { value: UNKNOWN }, "unknown"), ...options);
    control = labelled(label, select);
    control.read = () => [Number(select.value)];
  } else if (kind === "multilabel") {
    const blank = el("input", { type: "checkbox", checked: true });
    const boxes = values.map(() => el("input", { type: "checkbox", onchange: () => (blank.checked = false) }));
    const rows = boxes.map((box, place) => el("label", { class: "box" }, box, values[place]));
    control = el("fieldset", {}, el("legend", {}, label), el("label", { class: "box" }, blank, "unknown"), ...rows);
    control.read = () => (blank.checked ? unknown(condition) : boxes.map((box) => Number(box.checked)));
  } else {
    const boxes = values.map(() => el("input", { type: "number", min: low, max: high, step: "any" }));
    const rows = boxes.map((box, place) => labelled(values[place], box));
    control = el("fieldset", {}, el("legend", {}, `${label} (empty: unknown)`), ...rows);
    control.read = () =>
      boxes.every((box) => box.value && box.checkValidity()) ? boxes.map((box) => Number(box.value)) : unknown(condition);
  }
  return control;
}

const controls = Object.fromEntries(page.conditions.map((one) => [one.name, controlOf(one, "condition-")]));
let changed = null; // the condition that is changed, and its control

function number(id, value, least, most, step) {
  return el("input", { id, type: "number", value, min: least, ...(most && { max: most }), step, required: true });
}

function buildControls() {
  $("conditions").append(...Object.values(controls));
  const seed = el("input", { id: "seed", inputmode: "numeric", pattern: "[0-9]{1,30}", value: page.seed, required: true });
  $("draws").append(
    labelled("Seed", seed),
    labelled("Number", number("count", 4, 1, 64, 1)),
    labelled("First patch", number("first", 0, 0, 1e9, 1)),
  );
  if (page.passes) {
    const own = page.conditions.map(({ name, label }) => {
      const input = el("input", { id: `guidance-${name}`, type: "number", min: 0, step: "any" });
      input.value = page.guidance.of[name] ?? "";
      return labelled(label, input);
    });
    const note = el("p", { class: "note" }, "Above 1, it counts for more than in training. Empty: as all conditions.");
    $("draws").append(
      labelled("Guidance", number("guidance", page.guidance.overall, 0, 0, "any")),
      el("details", {}, el("summary", {}, "Guidance by condition"), note, ...own),
    );
  }
  const which = el("select", { id: "change" }, el("option", { value: "" }, "nothing"));
  which.append(...page.conditions.map(({ name, label }) => el("option", { value: name }, label)));
  which.addEventListener("change", () => {
    const condition = page.conditions.find(({ name }) => name === which.value);
    changed = condition ? { condition, control: controlOf(condition, "changed-") } : null;
    $("changed").replaceChildren(...(changed ? [changed.control] : []));
  });
  $("comparison").append(labelled("Change", which), el("div", { id: "changed" }));
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("controls").addEventListener("change", draw);
  $("download").addEventListener("click", save);
}

function guidanceAsked() {
  const of = {};
  for (const { name } of page.conditions) if ($(`guidance-${name}`)?.value) of[name] = Number($(`guidance-${name}`).value);
  return { overall: Number($("guidance")?.value ?? 1), of };
}

// Pictures -----------------------------------------------------------------------------------------------------------

function canvasOf(pixels, alt, tinted = false) {
  const edge = page.edge, area = edge * edge, image = new ImageData(edge, edge);
  for (let i = 0; i < area; i++) {
    const colour = tinted ? tint(pixels[i]) : [0, 1, 2].map((c) => pixels[page.channels === 3 ? c * area + i : i]);
    image.data.set([...colour, 255], 4 * i);
  }
  const canvas = el("canvas", { width: edge, height: edge, role: "img", "aria-label": alt });
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(image, 0, 0);
  return canvas;
}

const FULL = 32; // grey levels of a difference that have the full colour
const tint = (level) => {
  const rest = 255 * (1 - Math.min(Math.abs(level) / FULL, 1));
  return level > 0 ? [255, rest, rest] : [rest, rest, 255];
};

function differenceOf(before, after) {
  const area = page.edge ** 2;
  return Float32Array.from({ length: area }, (_, i) => {
    let total = 0;
    for (let c = 0; c < page.channels; c++) total += after[c * area + i] - before[c * area + i];
    return total / page.channels;
  });
}

const figure = (canvas, caption) => el("figure", {}, canvas, el("figcaption", {}, caption));

async function tilesOf(seed, index, codes, guidance, alive) {
  const told = page.conditions.map((condition) => wordOf(condition, codes[condition.name])).join(", ");
  const patch = await patchOf(seed, index, codes, guidance, alive);
  if (!patch) return [];
  const tiles = [figure(canvasOf(patch, `Synthetic patch ${index}: ${told}`), `synthetic patch ${index}`)];
  if (!changed) return tiles;
  const { condition, control } = changed;
  const values = control.read(), word = wordOf(condition, values);
  const other = await patchOf(seed, index, { ...codes, [condition.name]: values }, guidance, alive);
  if (!other) return [];
  const difference = differenceOf(patch, other);
  const mean = (difference.reduce((total, level) => total + Math.abs(level), 0) / difference.length).toFixed(1);
  const changes = `difference, mean ${mean} of 255`;
  return [
    ...tiles,
    figure(canvasOf(other, `The same noise, ${word}: patch ${index}`), `synthetic, ${word}`),
    figure(canvasOf(difference, `Patch ${index}, ${changes}; red: brighter, blue: darker`, true), changes),
  ];
}

let round = 0;

async function draw() {
  if (!$("controls").checkValidity()) return say("A control holds what it cannot: it has a red edge.");
  const mine = ++round, alive = () => mine === round;
  const codes = Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, control.read()]));
  const [seed, count, first] = [$("seed").value, Number($("count").value), Number($("first").value)];
  Object.assign(clock, { passes: 0, ms: 0 });
  say(`Drawing ${count} patches`);
  $("patches").setAttribute("aria-busy", "true");
  const began = performance.now(), rows = [];
  try {
    for (let index = first; index < first + count; index++) {
      $("progress").value = (index - first) / count;
      const tiles = await tilesOf(seed, index, codes, guidanceAsked(), alive);
      if (!alive()) return;
      rows.push(el("div", { class: "patch" }, ...tiles));
    }
  } catch (error) {
    return say(`The patches cannot be drawn: ${error.message}`);
  }
  $("progress").value = 1;
  $("patches").replaceChildren(...rows);
  $("patches").setAttribute("aria-busy", "false");
  const per = clock.passes ? `, ${(clock.ms / clock.passes).toFixed(0)} ms a pass` : "";
  say(`${count} synthetic patches in ${((performance.now() - began) / 1000).toFixed(1)} s${per}. ${legend()}`);
}

const legend = () => (changed ? `Red is brighter, blue darker; full colour from ${FULL} grey levels on.` : "");
const say = (text) => ($("status").textContent = text);

// Saving: a sheet that says SYNTHETIC in its pixels and in its text ---------------------------------------------------------

function sheetOf(rows) {
  const scale = Math.max(1, Math.ceil(192 / page.edge)), edge = scale * page.edge, line = 18;
  const tiles = rows.map((row) => [...row.querySelectorAll("figure")]);
  const across = tiles[0].length > 1 ? 1 : Math.min(4, tiles.length), wide = across * tiles[0].length;
  const sheet = el("canvas", { width: wide * edge, height: line + Math.ceil(tiles.length / across) * (edge + line) });
  const pen = sheet.getContext("2d");
  pen.fillStyle = "#202020";
  pen.fillRect(0, 0, sheet.width, sheet.height);
  pen.imageSmoothingEnabled = false;
  const write = (text, x, y, most, size, colour = "white") => {
    pen.font = `${size}px sans-serif`;
    [pen.lineWidth, pen.strokeStyle, pen.fillStyle] = [3, "black", colour];
    pen.strokeText(text, x, y, most);
    pen.fillText(text, x, y, most);
  };
  write("SYNTHETIC patches, not of a person, not for diagnosis", 4, 13, sheet.width - 8, 12);
  tiles.flat().forEach((tile, place) => {
    const x = (place % wide) * edge, y = line + Math.floor(place / wide) * (edge + line);
    pen.drawImage(tile.querySelector("canvas"), x, y, edge, edge);
    write("SYNTHETIC", x + 6, y + edge - 8, edge - 12, Math.round(edge / 8), "#ffd75e");
    write(tile.querySelector("figcaption").textContent, x + 4, y + edge + 13, edge - 8, 11);
  });
  return sheet;
}

function crc32(data) {
  let crc = -1;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 && 0xedb88320);
  }
  return ~crc >>> 0;
}

// A tEXt chunk (PNG, 11.3.4.3), whose text is Latin-1.
function chunkOf(keyword, text) {
  const letters = [..."tEXt", ...keyword, "\0", ...text].map((letter) => letter.codePointAt(0));
  const body = Uint8Array.from(letters, (code) => (code > 255 ? 63 : code));
  const chunk = new Uint8Array(body.length + 8), view = new DataView(chunk.buffer);
  view.setUint32(0, body.length - 4);
  chunk.set(body, 4);
  view.setUint32(body.length + 4, crc32(body));
  return chunk;
}

async function save() {
  const rows = [...$("patches").children];
  if (!rows.length) return;
  const blob = await new Promise((done) => sheetOf(rows).toBlob(done, "image/png"));
  const alts = rows.map((row) => row.querySelector("canvas").getAttribute("aria-label")).join("; ");
  const text = { ...page.text, Seed: $("seed").value, Guidance: JSON.stringify(guidanceAsked()), Patches: alts };
  const chunks = Object.entries(text).map(([keyword, value]) => chunkOf(keyword, value));
  const header = 33; // signature and IHDR
  download(new Blob([blob.slice(0, header), ...chunks, blob.slice(header)], { type: "image/png" }), "synthetic.png");
}

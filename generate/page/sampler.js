// Draws patches in the browser as nlbs-generate does: the same noise, the same sums, the networks as ONNX graphs.
// `page` is what nlbs-generate page knows of the model. No request leaves the page.

const page = JSON.parse(document.getElementById("page").textContent);
const $ = (id) => document.getElementById(id);
const UNKNOWN = -1;

// Noise: numpy's Generator(Philox(SeedSequence(seed, spawn_key=(index,)))).standard_normal(dtype=float32), to the bit ----

const hashed = (value, by) => {
  const product = Math.imul(value, by) >>> 0;
  return (product ^ (product >>> 16)) >>> 0;
};

function wordsOf(number) {
  const words = [];
  do words.push(Number(number & 0xffffffffn));
  while ((number >>= 32n));
  return words;
}

// Melissa O'Neill's seed_seq as numpy has it: the key of Philox, two numbers of 64 bits.
function keyOf(seed, index) {
  const entropy = wordsOf(seed);
  while (entropy.length < 4) entropy.push(0);
  entropy.push(...wordsOf(index));
  let constant = 0x43b0d7e5;
  const hash = (value) => {
    value = (value ^ constant) >>> 0;
    constant = Math.imul(constant, 0x931e8875) >>> 0;
    return hashed(value, constant);
  };
  const mix = (x, y) => hashed((Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) >>> 0, 1);
  const pool = entropy.slice(0, 4).map(hash);
  for (let from = 0; from < 4; from++)
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  for (const word of entropy.slice(4)) for (let to = 0; to < 4; to++) pool[to] = mix(pool[to], hash(word));
  constant = 0x8b51f9dd;
  const state = pool.map((value) => {
    value = (value ^ constant) >>> 0;
    constant = Math.imul(constant, 0x58f38ded) >>> 0;
    return BigInt(hashed(value, constant));
  });
  return [state[0] | (state[1] << 32n), state[2] | (state[3] << 32n)];
}

// Philox 4x64-10 (Salmon et al., 2011): numbers of 32 bits, one after the other.
function* philox(key) {
  const mask = (1n << 64n) - 1n;
  for (let counter = 1n; ; counter++) {
    let [a, b, c, d] = [counter, 0n, 0n, 0n];
    let [k, l] = key;
    for (let round = 0; round < 10; round++) {
      const [p, q] = [0xd2e7470ee14c6c93n * a, 0xca5a826395121157n * c];
      [a, b, c, d] = [(q >> 64n) ^ b ^ k, q & mask, (p >> 64n) ^ d ^ l, p & mask];
      [k, l] = [(k + 0x9e3779b97f4a7c15n) & mask, (l + 0xbb67ae8584caa73bn) & mask];
    }
    for (const word of [a, b, c, d]) yield* [Number(word & 0xffffffffn), Number(word >> 32n)];
  }
}

// Tables of the ziggurat of 256 blocks of area V (Marsaglia & Tsang, 2000): edges, shares that are inside, densities.
const R = 3.6541528853610088, V = 0.004928673233974658;
const density = (x) => Math.exp((-x * x) / 2);
const edges = [V / density(R), R];
for (let i = 254; i > 0; i--) edges.push(Math.sqrt(-2 * Math.log(V / edges.at(-1) + density(edges.at(-1)))));
const rising = [0, ...edges.slice(1).reverse()];
const widths = rising.map((x, i) => Math.fround((i ? x : edges[0]) / 2 ** 23));
const heights = rising.map((x) => Math.fround(density(x)));
const inside = rising.map((x, i) => Math.floor((i ? rising[i - 1] / x : R / edges[0]) * 2 ** 23));

function normals(words, count) {
  const f = Math.fround, next = () => words.next().value, uniform = () => (next() >>> 8) / 2 ** 24;
  return Float32Array.from({ length: count }, () => {
    for (;;) {
      const word = next(), i = word & 255, size = (word >>> 9) & 0x7fffff;
      const x = f(size * widths[i]) * ((word >>> 8) & 1 ? -1 : 1);
      if (size < inside[i]) return x;
      if (i) {
        if (f(f(f(heights[i - 1] - heights[i]) * uniform()) + heights[i]) < Math.exp(-0.5 * x * x)) return x;
        continue;
      }
      for (;;) {
        const far = f(-f(1 / R) * f(Math.log1p(-uniform()))), up = f(-Math.log1p(-uniform()));
        if (f(up + up) > f(far * far)) return ((size >>> 8) & 1 ? -1 : 1) * f(f(R) + far);
      }
    }
  });
}

function noiseOf(seed, index) {
  const words = philox(keyOf(BigInt(seed), BigInt(index)));
  return page.noise.map((shape) => normals(words, shape.reduce((a, b) => a * b, 1)));
}

// The sampler --------------------------------------------------------------------------------------------------------

let ort;
const sessions = {};
const clock = { passes: 0, ms: 0 };

async function bytes(name) {
  const held = $(`file-${name}`);
  if (held) {
    const text = atob(held.textContent.trim());
    held.remove();
    return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  }
  const answer = await fetch(name);
  if (!answer.ok) throw Error(`${name} is missing beside the page (${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function load() {
  const code = new Blob([await bytes(page.runtime.code)], { type: "text/javascript" });
  ort = await import(URL.createObjectURL(code));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = (await bytes(page.runtime.binary)).buffer;
  const names = page.passes ? (page.passes.weak ? ["pass", "weak", "finish"] : ["pass", "finish"]) : ["finish"];
  for (const name of names) sessions[name] = await ort.InferenceSession.create(await bytes(`${name}.onnx`));
}

async function run(name, inputs) {
  const session = sessions[name];
  const began = performance.now();
  const { out } = await session.run(Object.fromEntries(session.inputNames.map((input) => [input, inputs[input]])));
  if (name !== "finish") (clock.passes++, (clock.ms += performance.now() - began));
  await new Promise((done) => setTimeout(done)); // so that the page can be used meanwhile
  return out.data;
}

function tensorsOf(codes, hidden = []) {
  return Object.fromEntries(
    page.conditions.map((condition, place) => {
      const values = hidden.includes(condition.name) ? unknown(condition) : codes[condition.name];
      const [type, array, shape] = condition.coded
        ? ["int64", BigInt64Array.of(BigInt(values[0])), [1]]
        : condition.kind === "multilabel"
          ? ["int8", Int8Array.from(values), [1, values.length]]
          : ["float32", Float32Array.from(values), [1, values.length]];
      return [`condition${place}`, new ort.Tensor(type, array, shape)];
    }),
  );
}

const row = (values) => new ort.Tensor("float32", values, [1, values.length]);

function sum(factors, parts) {
  const total = new Float64Array(parts[0].length);
  factors.forEach((factor, k) => {
    if (factor) for (let i = 0; i < total.length; i++) total[i] += factor * parts[k][i];
  });
  return Float32Array.from(total);
}

// Factors of what the network says, and which conditions are hidden from it then (models/guidance.py); what is unknown
// already is not asked again.
function termsOf({ overall, of }, codes) {
  const extra = Object.entries(of).map(([name, strength]) => [strength - overall, [name]]);
  const all = page.conditions.map((condition) => condition.name);
  const others = [[1 - overall, all], ...extra.map(([more, name]) => [-more, name])].filter(
    ([factor, hidden]) => factor && hidden.some((name) => isKnown(codes[name])),
  );
  return [[1 - others.reduce((total, [factor]) => total + factor, 0), []], ...others];
}

async function solved(noise, codes, guidance, alive) {
  const { levels, at, inputs, result, weak, autoguidance } = page.passes;
  const parts = [Float32Array.from(noise.slice(0, levels).flatMap((level) => [...level]))];
  const terms = termsOf(guidance, codes);
  for (let k = 0; k < at.length && alive(); k++) {
    const shared = { x: row(sum(inputs[k], parts)), at: new ort.Tensor("float32", [at[k]], [1]) };
    const said = [];
    for (const [, hidden] of terms) said.push(await run("pass", { ...shared, ...tensorsOf(codes, hidden) }));
    const factors = terms.map(([factor]) => factor);
    if (weak) {
      said.push(await run("weak", { ...shared, ...tensorsOf(codes) }));
      factors[0] += autoguidance - 1;
      factors.push(1 - autoguidance);
    }
    parts.push(sum(factors, said));
  }
  return alive() ? sum(result, parts) : parts[0];
}

// The grey values of a patch, channel after channel.
async function patchOf(seed, index, codes, guidance, alive) {
  const noise = noiseOf(seed, index);
  const levels = Object.fromEntries(
    noise.map((values, k) => [`noise${k}`, new ort.Tensor("float32", values, [1, ...page.noise[k]])]),
  );
  const x = page.passes ? await solved(noise, codes, guidance, alive) : Float32Array.of(0);
  if (!alive()) return null;
  const image = await run("finish", { x: row(x), ...levels, ...tensorsOf(codes) });
  return Uint8Array.from(image, (value) => Math.round((Math.min(Math.max(value, -1), 1) + 1) * 127.5));
}

const unknown = ({ coded, kind, values }) =>
  coded ? [UNKNOWN] : values.map(() => (kind === "multilabel" ? UNKNOWN : NaN));

const isKnown = (values) => !values.some((value) => value === UNKNOWN || Number.isNaN(value));

// A world model that needs no kernel: DIAMOND's network and its sampler in plain JavaScript, and the rules of Breakout to
// hold its pictures against. Pictures are Float32Array or Uint8Array of C * h * w numbers; nothing here draws.

const silu = (x) => x / (1 + Math.exp(-x));

// A 3 x 3 convolution with padding 1: x [ci, h, w] -> [co, h / stride, w / stride]. The padded map is one flat array; two
// output maps share the nine numbers that are read around each place.
function conv3(x, ci, h, w, weight, bias, co, stride = 1) {
  const wide = w + 2, n = h * wide, size = (h + 2) * wide, padded = new Float32Array(ci * size + 2);
  for (let c = 0; c < ci; c++)
    for (let y = 0; y < h; y++) padded.set(x.subarray((c * h + y) * w, (c * h + y + 1) * w), c * size + (y + 1) * wide + 1);
  const oh = Math.ceil(h / stride), ow = Math.ceil(w / stride), out = new Float32Array(co * oh * ow);
  const A = new Float32Array(n), B = new Float32Array(n), each = ci * 9;
  for (let o = 0; o < co; o += 2) {
    const two = o + 1 < co, W = two ? each : 0;
    A.fill(bias[o]);
    B.fill(two ? bias[o + 1] : 0);
    for (let c = 0; c < ci; c++) {
      const i = o * each + c * 9, j = i + W;
      const a0 = weight[i], a1 = weight[i + 1], a2 = weight[i + 2], a3 = weight[i + 3], a4 = weight[i + 4];
      const a5 = weight[i + 5], a6 = weight[i + 6], a7 = weight[i + 7], a8 = weight[i + 8];
      const b0 = weight[j], b1 = weight[j + 1], b2 = weight[j + 2], b3 = weight[j + 3], b4 = weight[j + 4];
      const b5 = weight[j + 5], b6 = weight[j + 6], b7 = weight[j + 7], b8 = weight[j + 8];
      for (let p = 0, q = c * size; p < n; p++, q++) {
        const v0 = padded[q], v1 = padded[q + 1], v2 = padded[q + 2];
        const v3 = padded[q + wide], v4 = padded[q + wide + 1], v5 = padded[q + wide + 2];
        const v6 = padded[q + 2 * wide], v7 = padded[q + 2 * wide + 1], v8 = padded[q + 2 * wide + 2];
        A[p] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3 + a4 * v4 + a5 * v5 + a6 * v6 + a7 * v7 + a8 * v8;
        B[p] += b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3 + b4 * v4 + b5 * v5 + b6 * v6 + b7 * v7 + b8 * v8;
      }
    }
    for (const [k, sums] of two ? [[o, A], [o + 1, B]] : [[o, A]])
      for (let y = 0; y < oh; y++) for (let q = 0; q < ow; q++) out[(k * oh + y) * ow + q] = sums[y * stride * wide + q * stride];
  }
  return out;
}

function linear(x, weight, bias) {
  const n = x.length, out = new Float32Array(bias.length);
  for (let o = 0; o < out.length; o++) {
    let sum = bias[o];
    for (let i = 0; i < n; i++) sum += weight[o * n + i] * x[i];
    out[o] = sum;
  }
  return out;
}

function conv1(x, ci, n, weight, bias, co) {
  const out = new Float32Array(co * n);
  for (let o = 0; o < co; o++)
    for (let p = 0; p < n; p++) {
      let sum = bias[o];
      for (let c = 0; c < ci; c++) sum += weight[o * ci + c] * x[c * n + p];
      out[o * n + p] = sum;
    }
  return out;
}

// GroupNorm without weights, scale and shift by the condition, SiLU: x [c, n]
function film(x, c, n, e, weight, bias, groups) {
  const by = linear(e, weight, bias), out = new Float32Array(x.length), size = (c / groups) * n;
  for (let g = 0; g < groups; g++) {
    const from = g * size, to = from + size;
    let mean = 0, square = 0;
    for (let i = from; i < to; i++) mean += x[i];
    mean /= size;
    for (let i = from; i < to; i++) square += (x[i] - mean) ** 2;
    const scale = 1 / Math.sqrt(square / size + 1e-5);
    for (let i = from; i < to; i++) {
      const k = (i / n) | 0;
      out[i] = silu((x[i] - mean) * scale * (1 + by[k]) + by[c + k]);
    }
  }
  return out;
}

function block(w, name, x, ci, co, h, wide, e, groups) {
  const n = h * wide, t = (part) => w[`${name}.${part}`];
  const inner = conv3(film(x, ci, n, e, t("film1.weight"), t("film1.bias"), groups), ci, h, wide, t("first.weight"), t("first.bias"), co);
  const out = conv3(film(inner, co, n, e, t("film2.weight"), t("film2.bias"), groups), co, h, wide, t("second.weight"), t("second.bias"), co);
  const around = ci === co ? x : conv1(x, ci, n, t("around.weight"), t("around.bias"), co);
  for (let i = 0; i < out.length; i++) out[i] += around[i];
  return out;
}

function joined(...parts) {
  const out = new Float32Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const p of parts) out.set(p, at), (at += p.length);
  return out;
}

// net(x, label, past, act) of nets/image.py's ImageUNet, for one picture. past: K pictures of -1 to 1; act: K one-hots.
function network(w, meta, x, label, past, act) {
  const { shape: [C, H, W], width, past: K, groups, frequencies: f } = meta;
  const features = joined(f.map((q) => Math.sin(q * label)), f.map((q) => Math.cos(q * label)), act);
  const e = linear(features, w["embed.0.weight"], w["embed.0.bias"]).map(silu);
  const place = new Float32Array(2 * H * W);
  for (let y = 0; y < H; y++)
    for (let q = 0; q < W; q++) (place[y * W + q] = -1 + (2 * y) / (H - 1)), (place[(H + y) * W + q] = -1 + (2 * q) / (W - 1));
  const enter = conv3(joined(x, past, place), C * (1 + K) + 2, H, W, w["enter.weight"], w["enter.bias"], width);
  const fine = block(w, "before", enter, width, width, H, W, e, groups);
  let coarse = conv3(fine, width, H, W, w["shrink.weight"], w["shrink.bias"], width, 2);
  for (const name of ["coarse.0", "coarse.1"]) coarse = block(w, name, coarse, width, width, H / 2, W / 2, e, groups);
  const up = new Float32Array(width * H * W);
  for (let c = 0; c < width; c++)
    for (let y = 0; y < H; y++) for (let q = 0; q < W; q++) up[(c * H + y) * W + q] = coarse[(c * (H / 2) + (y >> 1)) * (W / 2) + (q >> 1)];
  const last = block(w, "after", joined(fine, up), 2 * width, width, H, W, e, groups).map(silu);
  return conv3(last, width, H, W, w["out.weight"], w["out.bias"], C);
}

// D(x, sigma) with EDM's preconditioning (Karras et al. 2022)
function denoise(w, meta, x, sigma, past, act) {
  const sd = meta.sigma_data, total = sigma ** 2 + sd ** 2, into = 1 / Math.sqrt(total);
  const label = Math.max(-3, Math.min(3, Math.log(sigma) / 4));
  const out = network(w, meta, x.map((v) => v * into), label, past, act);
  return x.map((v, i) => ((sd * sd) / total) * v + sigma * sd * into * out[i]);
}

// Euler's steps on Karras' grid from unit noise z -> the next picture, about -1 to 1
function dream(w, meta, past, act, steps, z) {
  const { sigma_min: low, sigma_max: high, rho } = meta, t0 = (low / high) ** (1 / rho), grid = [];
  for (let k = 0; k < steps; k++) grid.push(high * (steps === 1 ? 1 : 1 + ((t0 - 1) * k) / (steps - 1)) ** rho);
  grid.push(0);
  let x = z.map((v) => v * high);
  for (let k = 0; k < steps; k++) {
    const clean = denoise(w, meta, x, grid[k], past, act), ratio = grid[k + 1] / grid[k];
    x = x.map((v, i) => ratio * v + (1 - ratio) * clean[i]);
  }
  return x;
}

function half(u) {
  const sign = u >> 15 ? -1 : 1, e = (u >> 10) & 31, f = u & 1023;
  return e ? sign * 2 ** (e - 15) * (1 + f / 1024) : sign * f * 2 ** -24;
}

// float16 tensors end to end -> {name: Float32Array}; `tensors` is [[name, how many], ...]
function unpack(tensors, bytes) {
  const all = new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)), w = {};
  let at = 0;
  for (const [name, n] of tensors) (w[name] = Float32Array.from(all.subarray(at, at + n), half)), (at += n);
  return w;
}

// Random numbers that a seed repeats (mulberry32), and normal ones out of them (Box and Muller 1958)
function generator(seed) {
  let a = seed >>> 0;
  const uniform = () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, normal };
}

// ---------------------------------------------------------------- Breakout, as worlds/games.py has it (see there)
const SIZE = 10, BOTTOM = 9, STICKY = 0.1, BRICKS = 2 ** 30 - 1;
const Breakout = {
  channels: ["paddle", "ball", "trail", "brick"],
  serve: (side) => ({ paddle: 4, x: side ? BOTTOM : 0, y: 3, dx: side ? -1 : 1, dy: 1, trail: [side ? BOTTOM : 0, 3], bricks: BRICKS, struck: false, last: 0, lost: false }),
  bounce(s, done) {
    const paddle = Math.min(BOTTOM, Math.max(0, s.paddle + [0, -1, 1][done]));
    let { dx, dy, bricks } = s, toX = s.x + dx, toY = s.y + dy, reward = 0, hit = false, lost = false;
    if (toX < 0 || toX > BOTTOM) (toX = s.x), (dx = -dx);
    if (toY < 0) (toY = 0), (dy = -dy);
    else if (toY >= 1 && toY <= 3 && (bricks >> (SIZE * (toY - 1) + toX)) & 1) {
      hit = true;
      if (!s.struck) (bricks ^= 1 << (SIZE * (toY - 1) + toX)), (reward = 1), (toY = s.y), (dy = -dy);
    } else if (toY === BOTTOM) {
      bricks = bricks || BRICKS;
      if (s.x === paddle) (toY = s.y), (dy = -dy);
      else if (toX === paddle) (toY = s.y), (dx = -dx), (dy = -dy);
      else lost = true;
    }
    return [{ paddle, x: toX, y: toY, dx, dy, trail: [s.x, s.y], bricks, struck: hit, last: done, lost }, reward];
  },
  // [probability, state, reward] of all that may follow, each state once
  outcomes(s, asked) {
    if (s.lost) return [0, 1].map((side) => [0.5, Breakout.serve(side), 0]);
    if (asked === s.last) return [[1, ...Breakout.bounce(s, asked)]];
    return [[1 - STICKY, ...Breakout.bounce(s, asked)], [STICKY, ...Breakout.bounce(s, s.last)]];
  },
  // one step with uniform random numbers from `uniform`
  step(s, asked, uniform) {
    if (s.lost) return [Breakout.serve(uniform() < 0.5 ? 0 : 1), 0];
    return Breakout.bounce(s, uniform() < STICKY ? s.last : asked);
  },
  picture(s) {
    const seen = new Uint8Array(400);
    seen[10 * BOTTOM + s.paddle] = seen[100 + 10 * s.y + s.x] = seen[200 + 10 * s.trail[1] + s.trail[0]] = 1;
    for (let i = 0; i < 30; i++) seen[310 + i] = (s.bricks >> i) & 1;
    return seen;
  },
};

// Follows pictures and says which was impossible: the probability of each state that agrees with all of them.
class Witness {
  constructor(game, states) {
    this.game = game;
    this.states = states; // [[probability, state], ...]
  }
  // picture as text -> {p, states, picture}
  law(asked) {
    const law = new Map();
    for (const [weight, state] of this.states)
      for (const [p, after] of this.game.outcomes(state, asked)) {
        const picture = this.game.picture(after), key = picture.join("");
        if (!law.has(key)) law.set(key, { p: 0, states: new Map(), picture });
        const entry = law.get(key), id = JSON.stringify(after);
        entry.p += weight * p;
        entry.states.set(id, (entry.states.get(id) || 0) + weight * p);
      }
    return law;
  }
  // -> the probability of a picture of 0 and 1; 0: impossible, and what was known stays as it was
  see(asked, picture) {
    const entry = this.law(asked).get(picture.join(""));
    if (!entry) return 0;
    this.states = [...entry.states].map(([id, p]) => [p / entry.p, JSON.parse(id)]);
    return entry.p;
  }
  reason(asked, picture) {
    const differ = (a) => a.reduce((n, v, i) => n + (v !== picture[i]), 0);
    const nearest = [...this.law(asked).values()].map((e) => e.picture).sort((a, b) => differ(a) - differ(b))[0];
    const cells = (a, c) => {
      const on = [];
      for (let i = 0; i < 100; i++) if (a[100 * c + i]) on.push(`column ${i % 10}, row ${(i / 10) | 0}`);
      return on.length > 2 ? `${on.length} cells` : on.join(" and ") || "none";
    };
    const c = this.game.channels.findIndex((_, k) => [...Array(100).keys()].some((i) => picture[100 * k + i] !== nearest[100 * k + i]));
    return c < 0 ? "this picture is possible" : `${this.game.channels[c]}: ${cells(picture, c)} where ${cells(nearest, c)} is possible`;
  }
}

export { Breakout, Witness, denoise, dream, generator, network, unpack };

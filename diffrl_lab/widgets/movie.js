// The scrubber. `mount` draws panels on canvases and knows nothing of Jupyter; `render` connects it to a notebook.
// meta and floats come from movie.py: every panel holds x_t and x0_hat as [K, S, H, n] in one array of floats.

const CSS = `
.dm{color:var(--jp-content-font-color1,var(--vscode-foreground,CanvasText));font:14px/1.4 system-ui,sans-serif;max-width:1180px;margin:4px 6px}
.dm-panels{display:flex;flex-wrap:wrap;gap:14px}
.dm figure{margin:0!important;padding:0!important;min-width:0}
.dm figcaption{font-size:13px;line-height:18px;margin:0 0 2px;min-height:18px}
.dm canvas{display:block;border:1px solid color-mix(in srgb,currentColor 30%,transparent);border-radius:4px;touch-action:pan-y;cursor:ew-resize}
.dm-pick canvas{touch-action:none;cursor:default}
.dm-bar{display:flex;flex-wrap:wrap;align-items:center;gap:4px 7px;margin-top:6px;font-size:13px}
.dm button{font:inherit;color:inherit;background:transparent;border:1px solid color-mix(in srgb,currentColor 45%,transparent);border-radius:4px;padding:2px 7px;min-height:26px;min-width:30px;cursor:pointer}
.dm button[aria-pressed=true]{background:#0072B2;border-color:#0072B2;color:#fff}
.dm :is(button,input,select,canvas):focus-visible{outline:3px solid #E69F00;outline-offset:2px}
.dm input[type=range]{flex:1 1 140px;min-width:110px;max-width:520px;accent-color:#0072B2;height:24px;margin:0}
.dm input[type=number]{width:3.2em}
.dm :is(input[type=number],select){font:inherit;color:inherit;background:transparent;border:1px solid color-mix(in srgb,currentColor 45%,transparent);border-radius:4px;padding:2px 4px}
.dm option{color:CanvasText;background:Canvas}
.dm output{font-variant-numeric:tabular-nums;white-space:nowrap;min-width:11.5em}
.dm-group{display:inline-flex;gap:4px;align-items:center}
.dm-key{display:inline-flex;gap:5px;align-items:center;font-size:13px}
.dm-chart .dm-key{margin-right:10px}
.dm[aria-busy=true] figure:not(.dm-pick) canvas{opacity:.5;transition:opacity .1s .25s}
.dm-note{font-size:12.5px;opacity:.75}`;

const GLYPHS = "●■▲◆";                  // a group's points; no line is dashed but an exact one
const GAP = 14, CAPTION = 22, TALL = 580; // pixels: a notebook's screen of 768 shows a film of 640 with its controls
const SPEEDS = [0.25, 0.5, 1, 2, 4];
const NAMES = { x_t: "x_t: the noisy sample", x0_hat: "x0_hat: the guess of the clean one", both: "x_t (grey) and x0_hat" };

function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) k.includes("-") || k === "role" || k === "for" ? node.setAttribute(k, v) : (node[k] = v);
  node.append(...children);
  return node;
}

const mix = (a, b, u) => "#" + [1, 3, 5].map((i) => Math.round(parseInt(a.slice(i, i + 2), 16) * (1 - u) + parseInt(b.slice(i, i + 2), 16) * u)
  .toString(16).padStart(2, "0")).join("");

function mount(el, meta, floats, hooks = {}) {
  const state = { step: 0, show: meta.show, count: meta.count, timer: null, speed: 1, loop: false };
  const root = make("div", { className: "dm", role: "group", "aria-label": meta.alt });
  root.append(make("style", { textContent: CSS }));
  el.replaceChildren(root);
  const panels = make("div", { className: "dm-panels" });
  const range = make("input", { type: "range", min: 0, step: 1, "aria-label": meta.clock === "t" ? "Time of the reverse process, from noise to sample" : "Value of " + meta.clock });
  const play = make("button", { type: "button" });
  const steps = [[-1, "❙◀", "Step back"], [1, "▶❙", "Step forward"]].map(([by, sign, name]) => {
    const button = make("button", { type: "button", textContent: sign, title: name, "aria-label": name });
    button.addEventListener("click", () => { stop(); go((state.step + by + master.t.length) % master.t.length); });
    return button;
  });
  const speed = make("select", { title: "Speed", "aria-label": "Speed" }, ...SPEEDS.map((v) => make("option", { value: v, textContent: v + "×", selected: v === 1 })));
  const loop = make("button", { type: "button", textContent: "↻", title: "Loop: at the end begin anew", "aria-label": "Loop: at the end begin anew", "aria-pressed": "false" });
  const clock = make("output", { "aria-live": "off" });
  const shows = ["x_t", "x0_hat", "both"].map((name) => make("button", { type: "button", textContent: name, title: NAMES[name], "aria-label": "Show " + NAMES[name] }));
  const count = make("input", { type: "number", min: 1, "aria-label": "Number of samples shown" });
  const total = make("span");
  const legend = make("span", { className: "dm-group" });
  const chooser = make("span", { className: "dm-group", role: "group", "aria-label": "What is shown" }, ...shows);
  const counter = make("label", { className: "dm-group" }, "samples ", count, total);
  let notice = "";                       // about the place of a marker: it stays beside what a plan's answer says
  let say = () => {};                    // a picker tells what happens in its caption
  root.append(panels, make("div", { className: "dm-bar" }, play, ...steps, range, clock, speed, loop, chooser, counter, legend));

  let views = [], master = null, theme = null;

  function readTheme() {
    const rgb = (getComputedStyle(root).color.match(/[\d.]+/g) || [0, 0, 0]).map(Number);
    const dark = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 140;
    const c = meta.colours;
    theme = { ...c, dark, paper: dark ? "#16191d" : "#ffffff", ink: dark ? "#f0f0f0" : "#222222", wall: dark ? "#454c55" : c.wall, noise: dark ? "#a9a9a9" : c.noise,
      model: dark ? "#56B4E9" : c.model, groups: dark ? c.groups.map((g) => (g === "#0072B2" || g === "#000000" ? "#f0f0f0" : g)) : c.groups };
  }

  function build() {
    panels.replaceChildren();
    views = [];
    if (meta.pick) views.push(picker());
    meta.panels.forEach((panel, i) => {
      const canvas = make("canvas", { role: "img", "aria-label": (panel.title ? panel.title + ": " : "") + meta.alt });
      const caption = make("figcaption");
      panels.append(make("figure", {}, caption, canvas));
      const view = { canvas, caption, panel, index: i, ratio: ratio(panel), paint: () => paintPanel(view) };
      views.push(view);
      drag(canvas);
    });
    for (const chart of meta.charts || []) {
      const canvas = make("canvas", { role: "img", "aria-label": `Chart, ${chart.title}: ${chart.y} against ${chart.x}; a dot for the present ${meta.clock}` });
      const keys = chart.curves.map((c) => make("span", { className: "dm-key" }, make("b", { textContent: c.moving ? "●" : "╌╌" }), c.name));
      keys.forEach((key, i) => { key.firstChild.style.color = chart.curves[i].moving ? chart.curves[i].colour : "inherit"; });
      const caption = make("figcaption", {}, make("span", { textContent: chart.title + (chart.title ? " · " : "") }), ...keys);
      panels.append(make("figure", { className: "dm-chart" }, caption, canvas));
      const view = { canvas, caption, panel: { ...chart, kind: "chart", axes: [chart.x, chart.y] }, ratio: 0.66, paint: () => paintChart(view) };
      views.push(view);
      drag(canvas);
    }
    adopt();
    resize();
  }

  const ratio = (p) => (p.equal ? (p.limits[3] - p.limits[2]) / (p.limits[1] - p.limits[0]) : 0.62);

  function adopt() {                     // new numbers under the same page
    master = meta.panels.reduce((a, b) => (b.t.length > a.t.length ? b : a));
    range.max = master.t.length - 1;
    const most = Math.max(...meta.panels.map((p) => p.S));
    state.count = Math.min(Math.max(1, state.count), most);
    count.max = most;
    count.value = state.count;
    total.textContent = " of " + most;
    counter.hidden = most < 2;
    counter.style.display = most < 2 ? "none" : "";
    chooser.style.display = meta.panels.some((p) => p.x0_hat !== null) ? "" : "none";
    legend.replaceChildren(...(meta.labels || []).map((name, i) => name && make("span", { className: "dm-key" },
      make("b", { textContent: GLYPHS[i % 4], style: `color:${meta.colours.groups[i % 4]}` }), name)).filter(Boolean));
    state.step = Math.min(state.step, master.t.length - 1);
  }

  function resize() {
    const width = panels.clientWidth || 640;
    const n = views.length;
    const columns = width < 520 ? 1 : Math.min(n, width < 760 || n === 4 ? 2 : 3), rows = Math.ceil(n / columns);
    const most = meta.height || Math.min(430, (TALL - GAP * (rows - 1)) / rows - CAPTION - (meta.pick ? 36 : 0));
    for (const view of views) {
      const pad = view.panel.axes ? { left: 46, right: 10, top: 8, low: 36 } : { left: 0, right: 0, top: 0, low: 0 };
      const across = pad.left + pad.right, up = pad.top + pad.low;
      let w = Math.min([620, 580, 460, 580][Math.min(n, 4) - 1], (width - GAP * (columns - 1)) / columns - 4);
      let h = (w - across) * view.ratio + up;
      if (h > most) { w = view.panel.equal ? (most - up) / view.ratio + across : w; h = most; }
      if (meta.height && !view.panel.equal) h = most;
      const dpr = window.devicePixelRatio || 1;
      view.w = w; view.h = h;
      view.area = { x: pad.left, y: pad.top, w: w - across, h: h - up };
      view.canvas.style.width = w + "px";
      view.canvas.style.height = h + "px";
      view.canvas.width = Math.round(w * dpr);
      view.canvas.height = Math.round(h * dpr);
      view.dpr = dpr;
      view.canvas.parentElement.style.width = w + 2 + "px";
    }
    readTheme();
    paint();
  }

  function frameOf(panel) {              // the frame of this panel whose t is nearest to the clock's
    if (panel === master || panel.t.length === master.t.length) return state.step;
    const t = master.t[state.step];
    let best = 0;
    panel.t.forEach((v, k) => { if (Math.abs(v - t) < Math.abs(panel.t[best] - t)) best = k; });
    return state.step === master.t.length - 1 ? panel.t.length - 1 : best;
  }

  function begin(view) {
    const g = view.canvas.getContext("2d");
    g.setTransform(view.dpr, 0, 0, view.dpr, 0, 0);
    g.fillStyle = theme.paper;
    g.fillRect(0, 0, view.w, view.h);
    return g;
  }

  const mapping = (view, p) => {
    const a = view.area, sx = a.w / (p.limits[1] - p.limits[0]), sy = a.h / (p.limits[3] - p.limits[2]);
    return { x: (v) => a.x + (v - p.limits[0]) * sx, y: (v) => a.y + a.h - (v - p.limits[2]) * sy, sx, sy };
  };

  function scene(g, m, p, start, goal) {
    g.fillStyle = theme.wall;
    for (const [x0, y0, x1, y1] of p.walls || []) g.fillRect(m.x(x0) - 0.3, m.y(y1) - 0.3, (x1 - x0) * m.sx + 0.6, (y1 - y0) * m.sy + 0.6);
    for (const [name, at] of [["start", start], ["goal", goal]]) {
      if (!at) continue;
      const x = m.x(at[0]), y = m.y(at[1]), r = name === "start" ? 7 : 11;
      g.beginPath();
      if (name === "start") g.arc(x, y, r, 0, 7);
      else for (let i = 0; i < 10; i++) { const a = -Math.PI / 2 + (i * Math.PI) / 5, q = i % 2 ? r * 0.45 : r; g.lineTo(x + q * Math.cos(a), y + q * Math.sin(a)); }
      g.closePath();
      g.fillStyle = theme[name]; g.fill();
      g.strokeStyle = theme.dark ? "#ffffff" : "#000000"; g.lineWidth = 1.2; g.stroke();
    }
  }

  function dot(path, x, y, r, shape) {
    if (shape === 1) { path.rect(x - r, y - r, 2 * r, 2 * r); return; }
    if (shape === 2) { path.moveTo(x, y - 1.3 * r); path.lineTo(x + 1.2 * r, y + r); path.lineTo(x - 1.2 * r, y + r); path.closePath(); return; }
    if (shape === 3) { path.moveTo(x, y - 1.4 * r); path.lineTo(x + 1.4 * r, y); path.lineTo(x, y + 1.4 * r); path.lineTo(x - 1.4 * r, y); path.closePath(); return; }
    path.moveTo(x + r, y); path.arc(x, y, r, 0, 6.2832);
  }

  function under(g, m, p, k) {           // paths that lie there in every frame, and those of them that light up in this one
    const lit = new Set(p.under.lit ? p.under.lit[k] : []), grey = new Path2D(), bright = new Path2D();
    let o = p.under.at;
    p.under.lengths.forEach((n, i) => {
      const line = lit.has(i) ? bright : grey;
      for (let h = 0; h < n; h++, o += 2) h ? line.lineTo(m.x(floats[o]), m.y(floats[o + 1])) : line.moveTo(m.x(floats[o]), m.y(floats[o + 1]));
    });
    for (const [line, tone, width, alpha] of [[grey, theme.noise, 0.8, 0.5], [bright, theme.goal, 2, 0.9]]) {
      g.strokeStyle = tone; g.lineWidth = width; g.globalAlpha = alpha; g.stroke(line);
    }
    g.globalAlpha = 1;
  }

  function paths(g, m, p, base, k, faint) {
    const S = Math.min(state.count, p.S), H = p.H, many = S * H, r = many > 4000 ? 1.1 : many > 600 ? 1.8 : 2.5;
    const alpha = Math.max(0.45, Math.min(1, 9 / S)), sparse = Math.ceil(H / 5);
    const fills = new Map(), ends = [];
    for (let s = 0; s < S; s++) {
      const group = p.groups ? p.groups[p.groups.length > p.S ? k * p.S + s : s] : 0, line = new Path2D();
      const tone = faint ? theme.noise : p.groups ? theme.groups[group % 4] : theme.model;
      let o = base + ((k * p.S + s) * H) * 2, pen = false, last = null;
      for (let h = 0; h < H; h++, o += 2) {
        const vx = floats[o], vy = floats[o + 1];
        if (!(vx === vx && vy === vy)) { pen = false; continue; }
        const x = m.x(vx), y = m.y(vy);
        pen ? line.lineTo(x, y) : line.moveTo(x, y);
        pen = true;
        last = [x, y];
        const key = p.gradient && !faint ? "g" + h : tone + (group % 4), dotted = H === 1 || p.dots;
        if (!fills.has(key)) fills.set(key, { path: new Path2D(), tone: p.gradient && !faint ? mix(theme.dark ? "#56B4E9" : "#0072B2", "#E69F00", h / Math.max(1, H - 1)) : tone });
        if (dotted || (p.groups && h % sparse === s % sparse)) dot(fills.get(key).path, x, y, faint ? r * 0.8 : p.gradient ? r * 1.6 : dotted ? r : 3, p.groups ? group % 4 : many > 4000 ? 1 : 0);
      }
      if (p.ends && last && !faint) ends.push([...last, tone, group % 4]);
      if (H > 1) {
        g.globalAlpha = alpha * (faint ? 0.4 : 0.85);
        g.strokeStyle = p.gradient && !faint ? theme.noise : tone;
        g.lineWidth = faint ? 0.7 : S > 20 || p.gradient ? 1.1 : 1.6;
        g.stroke(line);
      }
    }
    g.globalAlpha = Math.max(0.6, alpha) * (faint ? 0.6 : 1);
    for (const { path, tone } of fills.values()) { g.fillStyle = tone; g.fill(path); }
    g.globalAlpha = 1;
    for (const [x, y, tone, shape] of ends) {
      const mark = new Path2D();
      dot(mark, x, y, 5, shape);
      g.fillStyle = tone; g.fill(mark);
      g.strokeStyle = theme.paper; g.lineWidth = 1.2; g.stroke(mark);
    }
  }

  function dots(g, view, p, base, k, faint) {   // one dimension: a histogram of all samples, the shown ones as dots below
    const m = mapping(view, p), a = view.area, bins = 60, counts = new Float64Array(bins), tall = a.h * 0.78, floor = a.y + tall, [x0, x1] = p.limits;
    for (let s = 0; s < p.S; s++) {
      const b = Math.floor(((floats[base + k * p.S + s] - x0) / (x1 - x0)) * bins);
      if (b >= 0 && b < bins) counts[b] += 1;
    }
    const width = (x1 - x0) / bins, noisy = base === p.x_t;   // curve and top are those of x_t; x0_hat has its own height
    const unit = (tall - 4) / (noisy ? p.top : Math.max(p.top, counts.reduce((u, v) => Math.max(u, v)) / p.S / width));
    g.globalAlpha = faint ? 0.35 : 0.55;
    g.fillStyle = faint ? theme.noise : theme.model;
    counts.forEach((c, b) => { const h = Math.min(tall, (c / p.S / width) * unit); g.fillRect(m.x(x0 + b * width), floor - h, width * m.sx - 0.6, h); });
    g.globalAlpha = 1;
    if (p.curve && !faint && noisy) {
      const M = p.curve.M, line = new Path2D();
      for (let i = 0; i < M; i++) line.lineTo(m.x(floats[p.curve.x + i]), floor - Math.min(tall, floats[p.curve.p + k * M + i] * unit));
      g.strokeStyle = theme.ink; g.lineWidth = 1.8; g.setLineDash([6, 3]); g.stroke(line); g.setLineDash([]);
    }
    g.strokeStyle = theme.noise; g.lineWidth = 1;
    g.beginPath(); g.moveTo(a.x, floor); g.lineTo(a.x + a.w, floor); g.stroke();
    const marks = new Path2D();
    for (let s = 0; s < Math.min(state.count, p.S); s++) dot(marks, m.x(floats[base + k * p.S + s]), floor + 6 + ((s * 0.618034) % 1) * (a.h - tall - 12), 2.6, 0);
    g.fillStyle = faint ? theme.noise : theme.model;
    g.fill(marks);
    view.upright = { y: (v) => floor - v * unit, limits: [0, tall / unit], span: [a.y, floor] };   // its axis is the density's
  }

  const round = (a, b) => {                     // a few round numbers from a to b
    const raw = (b - a) / 5, ten = 10 ** Math.floor(Math.log10(raw)), gap = ten * [1, 2, 5, 10].find((q) => q * ten >= raw), all = [];
    for (let v = Math.ceil(a / gap) * gap; v <= b; v += gap) all.push(Math.abs(v) < 1e-9 ? 0 : Number(v.toPrecision(6)));
    return all;
  };

  // axes with ticks and names around an area: the same for panels and charts
  function axes(g, area, [xlabel, ylabel], x, [x0, x1], y, [y0, y1], [above, low]) {
    const { x: left, w } = area, under = area.y + area.h;
    g.strokeStyle = theme.noise; g.lineWidth = 1;
    g.beginPath(); g.moveTo(left, above); g.lineTo(left, under); g.lineTo(left + w, under); g.stroke();
    g.fillStyle = theme.ink; g.font = "12px system-ui,sans-serif";
    g.textAlign = "center"; g.textBaseline = "top";
    for (const v of round(x0, x1)) g.fillText(String(v), Math.min(x(v), left + w - 6), under + 4);
    g.fillText(xlabel, left + w / 2, under + 20);
    g.textAlign = "right"; g.textBaseline = "middle";
    for (const v of round(y0, y1)) g.fillText(String(v), left - 5, Math.max(y(v), 7));
    g.save(); g.translate(10, (above + low) / 2); g.rotate(-Math.PI / 2); g.textAlign = "center"; g.fillText(ylabel, 0, 0); g.restore();
  }

  function paintChart(view) {                   // curves with one point per frame: pale as a whole, full up to now, a dot now
    const p = view.panel, g = begin(view), m = mapping(view, p), { x, y } = m, a = view.area;
    axes(g, a, p.axes, x, p.limits.slice(0, 2), y, p.limits.slice(2), [a.y, a.y + a.h]);
    const line = (at, alpha, width) => {
      g.globalAlpha = alpha; g.lineWidth = width; g.beginPath();
      at.forEach(([u, v]) => g.lineTo(x(u), y(v)));
      g.stroke(); g.globalAlpha = 1;
    };
    for (const c of p.curves) {
      const tone = c.colour === "#000000" ? theme.ink : c.colour === "#0072B2" ? theme.model : c.colour;
      g.strokeStyle = g.fillStyle = tone;
      if (!c.moving) { g.setLineDash([6, 3]); line(c.at, 1, 1.8); g.setLineDash([]); continue; }
      const k = Math.min(state.step, c.at.length - 1), [u, v] = c.at[k];
      line(c.at, 0.35, 1.2); line(c.at.slice(0, k + 1), 1, 2.2);
      g.beginPath(); g.arc(x(u), y(v), 5.5, 0, 7); g.fill();
      g.strokeStyle = theme.paper; g.lineWidth = 1.5; g.stroke();
    }
  }

  function paintPanel(view) {
    const p = view.panel, k = frameOf(p), g = begin(view), m = mapping(view, p);
    if (p.kind === "paths") scene(g, m, p, null, null);
    if (p.axes) { g.save(); g.beginPath(); g.rect(view.area.x, view.area.y, view.area.w, view.area.h); g.clip(); }
    if (p.kind === "paths" && p.under) under(g, m, p, k);
    const both = state.show === "both" && p.x0_hat !== null;
    for (const name of both ? ["x_t", "x0_hat"] : [state.show === "x0_hat" && p.x0_hat !== null ? "x0_hat" : "x_t"]) {
      const faint = both && name === "x_t";
      if (p.kind === "dots") dots(g, view, p, p[name], k, faint); else paths(g, m, p, p[name], k, faint);
    }
    if (p.axes) {
      g.restore();
      const a = view.area, up = p.kind === "dots" ? view.upright : { y: m.y, limits: p.limits.slice(2), span: [a.y, a.y + a.h] };
      axes(g, a, p.axes, m.x, p.limits.slice(0, 2), up.y, up.limits, up.span);
    }
    if (p.kind === "paths") scene(g, m, { walls: [] }, meta.pick ? meta.pick.start : p.start, meta.pick ? meta.pick.goal : p.goal);
    const what = meta.clock !== "t" ? "" : both ? "grey x_t, colour x0_hat" : state.show === "x0_hat" && p.x0_hat !== null ? "x0_hat" : "x_t";
    const uneven = meta.panels.some((q) => q.t.length !== p.t.length);   // then every caption says where its panel is
    view.caption.textContent = [p.title, what, uneven && `${meta.clock} = ${p.t[k].toFixed(3)}, step ${k} of ${p.t.length - 1}`].filter(Boolean).join(" · ");
  }

  function paint() {
    const begun = performance.now();
    for (const view of views) view.paint();
    const t = master.t[state.step], noise = master.noise ? master.noise[state.step] : null;
    range.value = state.step;
    const said = `${meta.clock} = ${t.toFixed(3)}` + (noise === null ? "" : ` · noise ${Math.round(noise * 100)} %`);
    clock.textContent = said + ` · step ${state.step} of ${master.t.length - 1}`;
    range.setAttribute("aria-valuetext", `${said}, step ${state.step} of ${master.t.length - 1}`);
    shows.forEach((b) => b.setAttribute("aria-pressed", String(b.textContent === state.show)));
    play.textContent = state.timer ? "❚❚" : "▶";
    play.title = state.timer ? "Pause" : meta.clock === "t" ? "Play from noise to sample" : "Play";
    play.setAttribute("aria-label", play.title);
    root.dataset.ms = (performance.now() - begun).toFixed(2);
    root.dataset.step = state.step;
  }

  const go = (step) => { state.step = Math.max(0, Math.min(master.t.length - 1, Math.round(step))); paint(); };
  const stop = () => { clearTimeout(state.timer); state.timer = null; };

  function toggle() {
    if (state.timer) { stop(); paint(); return; }
    if (state.step === master.t.length - 1) state.step = 0;
    run();
    paint();
  }

  function run() {                       // at the end of a loop the last frame stands for a second
    const pause = Math.max(30, Math.min(160, 4000 / master.t.length)) / state.speed, last = () => state.step >= master.t.length - 1;
    state.timer = setTimeout(() => {
      if (!root.isConnected || (last() && !state.loop)) { stop(); paint(); return; }
      state.step = last() ? 0 : state.step + 1;
      if (last() && !state.loop) stop(); else run();
      paint();
    }, last() ? 1000 : pause);
  }

  function drag(canvas) {                // a sideways drag anywhere on a picture turns time
    let from = null;
    canvas.addEventListener("pointerdown", (e) => { stop(); canvas.setPointerCapture(e.pointerId); from = { x: e.clientX, step: state.step }; range.focus({ preventScroll: true }); e.preventDefault(); });
    canvas.addEventListener("pointermove", (e) => { if (from) go(from.step + ((e.clientX - from.x) / canvas.clientWidth) * (master.t.length - 1) * 1.25); });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { from = null; });
  }

  function picker() {
    const canvas = make("canvas", { role: "img", "aria-label": "Maze with start (circle) and goal (star); drag them with the mouse, or use the two buttons below and the arrow keys" });
    const p = { ...meta.pick, kind: "pick", equal: true }, names = ["start", "goal"];
    const buttons = names.map(() => make("button", { type: "button" }));
    const caption = make("figcaption", { role: "status", "aria-live": "polite" });
    say = (words) => { caption.textContent = words || "Drag the circle (start) or the star (goal)"; };
    say();
    const again = make("button", { type: "button", textContent: "new noise", title: "Draw the noise anew, same start and goal" });
    panels.append(make("figure", { className: "dm-pick" }, caption, canvas, make("div", { className: "dm-bar" }, ...buttons, again)));
    const view = { canvas, caption, panel: p, ratio: ratio(p), paint() {
      const g = begin(view), m = mapping(view, p);
      scene(g, m, p, meta.pick.start, meta.pick.goal);
      const ringed = held || over || names.find((_, i) => buttons[i] === document.activeElement);
      if (ringed) {
        const [x, y] = meta.pick[ringed];
        g.beginPath(); g.arc(m.x(x), m.y(y), 16, 0, 7);
        g.strokeStyle = "#E69F00"; g.lineWidth = held ? 4 : 2.5; g.stroke();
      }
      canvas.style.cursor = held ? "grabbing" : over ? "grab" : "pointer";
      names.forEach((name, i) => {
        const [x, y] = meta.pick[name];
        buttons[i].textContent = `${name === "start" ? "●" : "★"} ${name} ${x.toFixed(2)}, ${y.toFixed(2)}`;
        buttons[i].setAttribute("aria-label", `Move the ${name} with the arrow keys; now at ${x.toFixed(2)}, ${y.toFixed(2)}`);
      });
    } };
    const inWall = ([x, y]) => (p.walls || []).some(([x0, y0, x1, y1]) => x >= x0 && x <= x1 && y >= y0 && y <= y1);
    const inside = ([x, y]) => [Math.max(p.limits[0], Math.min(p.limits[1], x)), Math.max(p.limits[2], Math.min(p.limits[3], y))];
    const nearest = (at) => {              // the nearest point of free floor to one in a wall
      let best = at, least = Infinity;
      for (const [x0, y0, x1, y1] of p.free) {
        const to = [Math.max(x0, Math.min(x1, at[0])), Math.max(y0, Math.min(y1, at[1]))], far = Math.hypot(to[0] - at[0], to[1] - at[1]);
        if (far < least) { best = to; least = far; }
      }
      return best;
    };
    let held = null, over = null, before = null, later = null;
    const place = (e) => { const b = canvas.getBoundingClientRect(); return [(e.clientX - b.left) / b.width, (e.clientY - b.top) / b.height]; };
    const pixels = (e, name) => {
      const [u, v] = place(e), m = mapping(view, p), [x, y] = meta.pick[name];
      return Math.hypot(m.x(x) - u * view.w, m.y(y) - v * view.h);
    };
    canvas.addEventListener("pointerdown", (e) => {
      held = pixels(e, "start") < pixels(e, "goal") ? "start" : "goal";
      before = meta.pick[held].slice();
      buttons[names.indexOf(held)].focus({ preventScroll: true });
      canvas.setPointerCapture(e.pointerId); e.preventDefault(); move(e);
    });
    const move = (e) => {
      if (!held) {
        const near = names.find((name) => pixels(e, name) < 18) || null;
        if (near !== over) { over = near; view.paint(); }
        return;
      }
      const [u, v] = place(e), at = inside([p.limits[0] + u * (p.limits[1] - p.limits[0]), p.limits[3] - v * (p.limits[3] - p.limits[2])]);
      const walled = inWall(at), to = walled ? nearest(at) : at;
      say(notice = walled ? `A wall: the ${held} goes to the nearest free floor.` : "");
      if (to.every((c, i) => c === meta.pick[held][i])) return;
      meta.pick[held] = to;
      if (hooks.ask) { stop(); state.step = master.t.length - 1; }    // the finished plan follows the hand
      ask();
      paint();
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerleave", () => { over = null; view.paint(); });
    canvas.addEventListener("pointerup", () => { held = null; ask(); paint(); });
    canvas.addEventListener("pointercancel", () => { if (held) meta.pick[held] = before; held = null; ask(); paint(); });
    for (const button of buttons) for (const name of ["focus", "blur"]) button.addEventListener(name, () => view.paint());
    buttons.forEach((button, i) => button.addEventListener("keydown", (e) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
      if (!way) return;
      e.preventDefault();
      const name = i ? "goal" : "start", from = meta.pick[name].slice(), size = p.cell * (e.shiftKey ? 1 : 0.25);
      const to = inside([from[0] + way[0] * size, from[1] + way[1] * size]);
      if (inWall(to)) { say(`A wall is in the way of the ${name}.`); return; }
      notice = "";
      meta.pick[name] = to; paint();
      clearTimeout(later); later = setTimeout(ask, 350);
    }));
    again.addEventListener("click", () => { meta.pick.seed += 1; ask(); });
    return view;
  }

  // one question at a time: the newest waits for the answer to the last one, so that a drag asks as fast as plans come
  let waiting = false, next = false, patience = null, asked = null;
  function ask() {
    if (!hooks.ask) { say("A new plan needs a running notebook; the one beside can be scrubbed."); return; }
    if (waiting) { next = true; return; }
    const question = { start: meta.pick.start, goal: meta.pick.goal, seed: meta.pick.seed }, key = JSON.stringify(question);
    if (key === asked) return;
    asked = key;
    waiting = true;
    root.setAttribute("aria-busy", "true");
    clearTimeout(patience);
    patience = setTimeout(() => {
      waiting = next = false; asked = null;
      root.removeAttribute("aria-busy");
      say("No answer from the kernel. Is it running? Run this cell again.");
    }, 20000);
    hooks.ask(question);
  }

  range.addEventListener("input", () => { stop(); go(Number(range.value)); });
  play.addEventListener("click", toggle);
  speed.addEventListener("change", () => { state.speed = Number(speed.value); if (state.timer) { stop(); run(); } });
  loop.addEventListener("click", () => { state.loop = !state.loop; loop.setAttribute("aria-pressed", String(state.loop)); });
  shows.forEach((b) => b.addEventListener("click", () => { state.show = b.textContent; paint(); }));
  count.addEventListener("input", () => { state.count = Math.max(1, Math.min(Number(count.max), Math.round(Number(count.value)) || 1)); paint(); });
  count.addEventListener("change", () => { count.value = state.count; });
  // JupyterLab binds arrows, space and letters at the document: what is typed here stays here
  root.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.key === "Escape" || e.key === "Tab" || (e.key === "Enter" && e.shiftKey)) return;
    if (e.target === range && e.key === " ") { e.preventDefault(); toggle(); }
    e.stopPropagation();
  });

  readTheme();
  build();
  go(meta.step < 0 ? master.t.length + meta.step : meta.step);

  // plays once, when more than half of it is first seen, unless the reader asked for less motion
  const seen = new IntersectionObserver(([at]) => {
    if (at.intersectionRatio < 0.5) return;
    seen.disconnect();
    state.step = 0;
    if (!state.timer) toggle();
  }, { threshold: 0.5 });
  if (meta.play && !hooks.played && !window.matchMedia("(prefers-reduced-motion: reduce)").matches) seen.observe(root);

  const sized = new ResizeObserver(() => resize());
  sized.observe(panels);
  const themed = new MutationObserver(() => { readTheme(); paint(); });
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  const onScheme = () => { readTheme(); paint(); };
  scheme.addEventListener("change", onScheme);

  return {
    go,
    update(newMeta, newFloats, words) {
      clearTimeout(patience);
      waiting = false;
      root.removeAttribute("aria-busy");
      say([notice, words].filter(Boolean).join(" · "));
      if (newMeta) {
        const pick = meta.pick;
        meta = newMeta; floats = newFloats;
        if (pick && meta.pick) meta.pick = pick;      // the learner may have moved on meanwhile
        const boards = views.filter((v) => v.panel.kind !== "pick" && v.panel.kind !== "chart");
        if (boards.length !== meta.panels.length) build();
        else { boards.forEach((v, i) => { v.panel = meta.panels[i]; }); adopt(); paint(); }
      }
      if (next) { next = false; ask(); }
    },
    dispose() { stop(); clearTimeout(patience); seen.disconnect(); sized.disconnect(); themed.disconnect(); scheme.removeEventListener("change", onScheme); },
  };
}

const played = new WeakSet();            // films that a page has shown before

const decode = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

function render({ model, el }) {
  const copy = (v) => JSON.parse(JSON.stringify(v));
  const hooks = model.get("meta").pick ? { ask(question) { model.set("question", { ...question, n: (model.get("question").n || 0) + 1 }); model.save_changes(); } } : {};
  hooks.played = played.has(model);
  played.add(model);
  const movie = mount(el, copy(model.get("meta")), decode(model.get("data")), hooks);
  const answered = () => { const a = model.get("answer"); movie.update(a.error ? null : copy(model.get("meta")), decode(model.get("data")), a.error || a.words); };
  const stepped = () => movie.go(model.get("step"));
  model.on("change:answer", answered);
  model.on("change:step", stepped);
  return () => { model.off("change:answer", answered); model.off("change:step", stepped); movie.dispose(); };
}

export default { render };

// The game and its dream side by side, played with the arrow keys: `mount` knows nothing of Jupyter. `dream.js` stands
// before this file in the same script; what it exports are names here.

const PLAY_CSS = `
.dp{color:var(--jp-content-font-color1,var(--vscode-foreground,CanvasText));font:14px/1.4 system-ui,sans-serif;max-width:980px;margin:4px 6px}
.dp-boards{display:flex;flex-wrap:wrap;gap:18px}
.dp figure{margin:0!important;padding:0!important}
.dp figcaption{font-size:13px;margin:0 0 3px}
.dp canvas{display:block;width:250px;height:250px;border:2px solid color-mix(in srgb,currentColor 30%,transparent);border-radius:4px;touch-action:none}
.dp canvas.dp-wrong{border-color:#D55E00;border-style:dashed}
.dp-bar{display:flex;flex-wrap:wrap;align-items:center;gap:6px 14px;margin-top:8px}
.dp button{font:inherit;color:inherit;background:transparent;border:1px solid color-mix(in srgb,currentColor 45%,transparent);border-radius:4px;padding:4px 14px;min-height:32px;cursor:pointer;touch-action:manipulation}
.dp button:hover{background:color-mix(in srgb,currentColor 10%,transparent)}
.dp :is(button,select,input,canvas):focus-visible{outline:3px solid #E69F00;outline-offset:2px}
.dp select,.dp input{font:inherit;color:inherit;background:var(--jp-layout-color1,Canvas)}
.dp label{display:inline-flex;gap:5px;align-items:center}
.dp-light{display:inline-block;width:14px;height:14px;border-radius:50%;border:1px solid color-mix(in srgb,currentColor 50%,transparent);background:#009E73}
.dp-light.dp-wrong{background:#D55E00;border-radius:2px}
.dp-status{min-height:1.5em;display:flex;gap:8px;align-items:center;margin-top:8px;font-variant-numeric:tabular-nums}
.dp-key{font-size:13px;display:inline-flex;gap:12px;flex-wrap:wrap}
.dp-key i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:4px;vertical-align:-1px}`;

function element(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) k.includes("-") || k === "role" ? node.setAttribute(k, v) : (node[k] = v);
  node.append(...children);
  return node;
}

function mountPlay(el, meta, bytes) {
  const game = Breakout, [C, H, W] = meta.shape, n = C * H * W, K = meta.past;
  const weights = {};
  let at = 0;
  for (const { name, tensors } of meta.checkpoints) {
    const size = 2 * tensors.reduce((sum, [, k]) => sum + k, 0);
    weights[name] = unpack(tensors, bytes.subarray(at, at + size));
    at += size;
  }
  const random = generator(meta.seed);
  const root = element("div", { className: "dp", role: "group", "aria-label": meta.alt, tabIndex: 0 });
  root.append(element("style", { textContent: PLAY_CSS }));
  const boards = ["the game", "the dream"].map((title) => {
    const canvas = element("canvas", { width: 40 * W, height: 40 * H, role: "img", "aria-label": `Breakout on 10 x 10 cells, ${title}: bricks, ball, trail, paddle` });
    return { canvas, figure: element("figure", {}, element("figcaption", { textContent: title }), canvas) };
  });
  const light = element("span", { className: "dp-light", "aria-hidden": "true" });
  const words = element("span", { role: "status", "aria-live": "polite" });
  const score = element("span", { className: "dp-score" });
  const button = (textContent, label, action) => element("button", { type: "button", textContent, "aria-label": label, onclick: action });
  const choice = (label, values, value) => {
    const select = element("select", { "aria-label": label });
    values.forEach((v) => select.append(element("option", { value: v, textContent: v, selected: v === value })));
    return [element("label", {}, label + " ", select), select];
  };
  const [stepsLabel, steps] = choice("denoising steps", meta.steps, meta.denoising);
  const [whichLabel, which] = choice("checkpoint", meta.checkpoints.map((c) => c.name), meta.checkpoints.at(-1).name);
  const project = element("input", { type: "checkbox", checked: true });
  const [speedLabel, speed] = choice("pictures a second", [2, 4, 8, 12], 4);
  const run = button("play", "Play or pause", () => (timer ? pause() : start()));
  const key = element("span", { className: "dp-key" });
  game.channels.forEach((name) => key.append(element("span", {}, element("i", { style: `background:${meta.colours[name]}` }), name)));
  root.append(
    element("div", { className: "dp-boards" }, ...boards.map((b) => b.figure)),
    element("div", { className: "dp-status" }, light, words),
    element("div", { className: "dp-bar" },
      run, button("◀", "Left", () => once(1)), button("▶", "Right", () => once(2)), button("one step", "One step without a move", () => once(0)),
      button("wake up", "Begin the dream again where the game is", wake), score),
    element("div", { className: "dp-bar" }, stepsLabel, whichLabel, element("label", {}, project, "project to legal pixels"), speedLabel, key),
  );
  el.replaceChildren(root);

  const onehot = (a) => Float32Array.from({ length: 3 }, (_, i) => +(i === a));
  const signed = (p) => Float32Array.from(p, (v) => 2 * v - 1);
  const last = (list, k) => list.slice(Math.max(0, list.length - k));

  // the game: its last K pictures, and the K - 1 actions between them
  let state = game.serve(random.uniform() < 0.5 ? 0 : 1), shown = [game.picture(state)], done = [], bricks = 0;
  // the dream: the same of what was dreamed, and what is known of it
  let pictures, acts, witness, count, wrong, timer = null, held = 0, tapped = null, busy = 0;

  function live(a) {
    const [next, reward] = game.step(state, a, random.uniform);
    state = next;
    bricks += reward;
    shown = last([...shown, game.picture(state)], K);
    done = last([...done, onehot(a)], K - 1);
  }

  function wake() {
    pictures = shown.map(signed);
    acts = [...done];
    witness = new Witness(game, [[1, state]]);
    count = 0;
    wrong = "";
    paint();
  }

  function advance(a) {
    const before = performance.now(), asked = onehot(a);
    const z = Float32Array.from({ length: n }, random.normal);
    const x = dream(weights[which.value], meta, joined(...pictures), joined(...acts, asked), Number(steps.value), z);
    const legal = Uint8Array.from(x, (v) => +(v >= 0));
    if (!wrong) {
      if (witness.see(a, legal) > 0) count += 1;
      else wrong = witness.reason(a, legal);
    }
    pictures = last([...pictures, project.checked ? signed(legal) : x.map((v) => Math.max(-1, Math.min(1, v)))], K);
    acts = last([...acts, asked], K - 1);
    busy = performance.now() - before;
    live(a);
    paint();
  }

  function draw(canvas, value) {
    const g = canvas.getContext("2d"), size = canvas.width / W;
    g.fillStyle = meta.colours.ground;
    g.fillRect(0, 0, canvas.width, canvas.height);
    for (let c = C - 1; c >= 0; c--)
      for (let i = 0; i < H * W; i++) {
        const v = Math.max(0, Math.min(1, value(c * H * W + i)));
        if (v < 0.03) continue;
        g.globalAlpha = v;
        g.fillStyle = meta.colours[game.channels[c]];
        g.fillRect((i % W) * size + 1, ((i / W) | 0) * size + 1, size - 2, size - 2);
      }
    g.globalAlpha = 1;
  }

  function paint() {
    draw(boards[0].canvas, (i) => shown.at(-1)[i]);
    draw(boards[1].canvas, (i) => (pictures.at(-1)[i] + 1) / 2);
    [light, boards[1].canvas].forEach((node) => node.classList.toggle("dp-wrong", !!wrong));
    words.textContent = wrong
      ? `impossible after ${count} pictures. ${wrong}`
      : `${count} ${count === 1 ? "picture" : "pictures"} so far, and each was possible`;
    score.textContent = `bricks in the game: ${bricks}${busy ? ` · ${busy.toFixed(0)} ms a picture` : ""}`;
    root.dataset.count = count;
    root.dataset.wrong = wrong;
    root.dataset.paddle = state.paddle;
  }

  function tick() {
    advance(tapped ?? held);
    tapped = null;
  }
  function start() {
    run.textContent = "pause";
    timer = setInterval(tick, 1000 / Number(speed.value));
  }
  function pause() {
    clearInterval(timer);
    timer = null;
    run.textContent = "play";
  }
  function once(a) {
    if (timer) tapped = a;
    else advance(a);
  }
  speed.addEventListener("change", () => timer && (pause(), start()));
  const KEYS = { ArrowLeft: 1, ArrowRight: 2 };
  // JupyterLab binds arrows, space and letters at the document: what is typed here stays here
  root.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.key === "Escape" || e.key === "Tab" || (e.key === "Enter" && e.shiftKey)) return;
    e.stopPropagation();
    if (e.target.tagName === "SELECT") return;
    if (e.key in KEYS) {
      e.preventDefault();
      if (!timer) advance(KEYS[e.key]);
      else held = tapped = KEYS[e.key];
    } else if (e.key === " " && e.target.tagName !== "BUTTON" && e.target.tagName !== "INPUT") {
      e.preventDefault();
      timer ? pause() : start();
    }
  });
  root.addEventListener("keyup", (e) => { if (KEYS[e.key] === held) held = 0; });
  root.addEventListener("focusout", () => { held = 0; });

  while (shown.length < K) live(0);
  wake();
  return { dispose: pause };
}

function render({ model, el }) {
  const data = model.get("data"), bytes = new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
  const game = mountPlay(el, JSON.parse(JSON.stringify(model.get("meta"))), bytes);
  return () => game.dispose();
}

export default { render };

// The failure museum, blind: plots, a diagnosis to pick, then what the detector says. `mountMuseum` knows nothing of
// Jupyter, and needs no kernel: all rounds are here.

const MUSEUM_CSS = `
.dm{color:var(--jp-content-font-color1,var(--vscode-foreground,CanvasText));font:14px/1.45 system-ui,sans-serif;max-width:920px;margin:4px 6px}
.dm img{display:block;max-width:100%;height:auto;background:#fff}
.dm fieldset{border:0;margin:6px 0;padding:0;display:flex;flex-wrap:wrap;gap:4px 18px}
.dm legend{font-weight:600;padding:0;margin:0 0 2px}
.dm label{display:inline-flex;gap:6px;align-items:center;min-height:28px;cursor:pointer}
.dm label:has(input:checked){text-decoration:underline;text-underline-offset:3px}
.dm input{margin:0}
.dm button{font:inherit;color:inherit;background:transparent;border:1px solid color-mix(in srgb,currentColor 45%,transparent);border-radius:4px;padding:4px 14px;min-height:32px;cursor:pointer}
.dm button:disabled{opacity:.45;cursor:default}
.dm :is(button,input):focus-visible{outline:3px solid #E69F00;outline-offset:2px}
.dm-bar{display:flex;flex-wrap:wrap;gap:6px 14px;align-items:center}
.dm-told{margin:8px 0;padding:2px 10px;border-left:4px solid #777777;min-height:1.5em}
.dm-told.dm-right{border-color:#009E73}
.dm-told.dm-wrong{border-color:#D55E00;border-left-style:dashed}`;

function mountMuseum(el, meta, bytes, picked) {
  const make = (tag, props = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [k, v] of Object.entries(props)) k.includes("-") || k === "role" ? node.setAttribute(k, v) : (node[k] = v);
    node.append(...children);
    return node;
  };
  let at = 0;
  const urls = meta.rounds.map((round) => {
    const part = bytes.slice(at, at + round.bytes);
    at += round.bytes;
    return URL.createObjectURL(new Blob([part], { type: "image/png" }));
  });
  const root = make("div", { className: "dm", role: "group", "aria-label": meta.alt });
  const head = make("div", { style: "font-weight:600" }), img = make("img", { className: "diffrl-picture" });
  const choices = make("fieldset"), told = make("div", { className: "dm-told", role: "status", "aria-live": "polite" });
  const score = make("span"), picks = [];
  const decide = make("button", { type: "button", textContent: "this is my diagnosis", disabled: true, onclick: () => answer() });
  const next = make("button", { type: "button", textContent: "next round", disabled: true, onclick: () => show(picks.length) });
  root.append(make("style", { textContent: MUSEUM_CSS }), head, img, choices, make("div", { className: "dm-bar" }, decide, next, score), told);
  el.append(root);
  const group = "dm" + Math.random().toString(36).slice(2);
  const count = (key) => picks.filter((p, i) => (key ? meta.rounds[i].detector : p) === meta.rounds[i].truth).length;
  const tally = () => { score.textContent = picks.length ? `you ${count(false)} of ${picks.length} · detector ${count(true)} of ${picks.length}` : ""; };
  function show(i) {
    const round = meta.rounds[i];
    head.textContent = `Round ${i + 1} of ${meta.rounds.length} · the room of ${round.room}`;
    img.src = urls[i];
    img.alt = round.alt;
    choices.replaceChildren(make("legend", { textContent: "What is wrong here?" }), ...round.choices.map((name) => {
      const input = make("input", { type: "radio", name: group, value: name, onchange: () => { decide.disabled = false; } });
      return make("label", {}, input, name);
    }));
    decide.disabled = next.disabled = true;
    told.className = "dm-told";
    told.textContent = "";
    tally();
  }
  function answer() {
    const chosen = choices.querySelector("input:checked"), i = picks.length, round = meta.rounds[i];
    if (!chosen) return;
    picks.push(chosen.value);
    choices.querySelectorAll("input").forEach((input) => { input.disabled = true; });
    const right = chosen.value === round.truth;
    told.className = `dm-told ${right ? "dm-right" : "dm-wrong"}`;
    told.replaceChildren(make("b", { textContent: `${right ? "✓" : "✗"} You: ${chosen.value}. Detector: ${round.detector}. It is: ${round.truth}.` }),
      ...round.told.map((line) => make("div", { textContent: line })));
    decide.disabled = true;
    next.disabled = i + 1 >= meta.rounds.length;
    if (next.disabled) told.append(make("div", { textContent: `That was the last round: you named ${count(false)} of ${picks.length}, the detectors ${count(true)}.` }));
    tally();
    if (picked) picked([...picks]);
  }
  // JupyterLab binds arrows and letters at the document: what is typed here stays here
  root.addEventListener("keydown", (e) => { if (!e.ctrlKey && !e.metaKey && !e.altKey && e.key !== "Escape" && e.key !== "Tab") e.stopPropagation(); });
  show(0);
  return { dispose: () => urls.forEach((url) => URL.revokeObjectURL(url)) };
}

function render({ model, el }) {
  const data = model.get("data"), bytes = new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
  const mounted = mountMuseum(el, JSON.parse(JSON.stringify(model.get("meta"))), bytes, (picks) => { model.set("picks", picks); model.save_changes(); });
  return () => mounted.dispose();
}

export default { render };

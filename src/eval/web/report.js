/* Draws report.html from the JSON blocks that src/eval/html.c put into it. Texts of models only ever become text nodes. */
"use strict";
(function () {
  const PAGE = 20, KEPT_CHUNKS = 24;
  const SCORE = 1, STRICT = 2, LENIENT = 4, SILENT = 8, CUT = 16;
  const $ = (id) => document.getElementById(id);
  const json = (id) => JSON.parse($(id).textContent);
  const R = json("results"), NOTES = json("notes");
  const rows = R.rows || [];

  /* ---- small things ---- */

  function make(tag, attributes, ...inside) {
    const e = document.createElement(tag);
    for (const k in attributes || {})
      if (attributes[k] === true) e.setAttribute(k, "");
      else if (attributes[k] !== false && attributes[k] != null) e.setAttribute(k, attributes[k]);
    e.append(...inside.filter((x) => x != null));
    return e;
  }
  function draw(tag, attributes, text) {
    const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const k in attributes) e.setAttribute(k, attributes[k]);
    if (text != null) e.textContent = text;
    return e;
  }
  const isNumber = (x) => typeof x === "number" && isFinite(x);
  const percent = (x, d) => (isNumber(x) ? (100 * x).toFixed(d == null ? 1 : d) : "–");
  const count = (x) => (isNumber(x) ? (Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en-US") : String(+x.toFixed(Math.abs(x) < 10 ? 2 : 1))) : "–");
  const money = (x) => (isNumber(x) ? (x === 0 ? "0" : Math.abs(x) < 1e-4 ? x.toExponential(2) : x.toPrecision(3)) : "–");
  const plural = (n, word) => n.toLocaleString("en-US") + " " + word + (n === 1 ? "" : "s");
  const titleOf = (r) => ({ M: "M end to end", m: "m alone", duet: "pair" }[r.mode] || r.mode) + (r.variant ? ", " + r.variant : "");
  const sets = [...new Set(rows.map((r) => r.data))];
  const modes = [...new Set(rows.map(titleOf))];
  const inCurve = (r) => /^signal [0-9.]+ %$/.test(r.variant); /* has a chart of its own */
  function colourOf(r) {
    const known = { "M end to end": 1, "m alone": 2, pair: 3, "M end to end, before": 1, "m alone, after": 2, "pair, after": 3, "pair, before": 4, "pair, shuffled": 5, "pair, masked": 0 };
    const n = inCurve(r) ? 3 : known[titleOf(r)];
    return "var(--c" + (n == null ? modes.indexOf(titleOf(r)) % 6 : n) + ")";
  }
  const dot = (r) => make("span", { class: "dot", style: "background:" + colourOf(r), "aria-hidden": "true" });

  /* ---- table ---- */

  function estimateCell(e, f, unit) {
    if (!e || !isNumber(e.value)) return make("td", {}, "–");
    const ci = e.ci95 || [], known = isNumber(ci[0]) && isNumber(ci[1]) && ci[0] !== ci[1];
    return make("td", {}, f(e.value) + unit, known ? make("span", { class: "ci" }, f(ci[0]) + " – " + f(ci[1])) : null);
  }
  function lastOf(o) { /* pass@k and maj@k of the largest k */
    const k = Object.keys(o || {}).map(Number).sort((a, b) => a - b).pop();
    return k > 1 ? { k, e: o[k] } : null;
  }
  function extraKeys() { /* estimates that this page has no column of its own for */
    const own = ["avg@k", "pass@k", "maj@k", "strict", "lenient", "no_answer", "truncated", "M_tokens", "m_tokens", "saved", "cost", "cost_saved"];
    const keys = new Set();
    for (const r of rows) for (const k in r) if (!own.includes(k) && r[k] && typeof r[k] === "object" && isNumber(r[k].value)) keys.add(k);
    return [...keys];
  }
  function drawTable() {
    const share = (key) => (r) => estimateCell(r[key], percent, " %");
    const tokens = (key) => (r) => estimateCell(r[key], count, "");
    const atK = (key) => (r) => { const l = lastOf(r[key]); return l ? estimateCell(l.e, percent, " %") : make("td", {}, "–"); };
    const ks = [...new Set(rows.map((r) => (lastOf(r["pass@k"]) || {}).k).filter(Boolean))];
    const columns = [["accuracy", share("avg@k")]];
    if (ks.length) columns.push(["pass@" + (ks.length === 1 ? ks[0] : "k"), atK("pass@k")], ["maj@" + (ks.length === 1 ? ks[0] : "k"), atK("maj@k")]);
    columns.push(["M tokens", tokens("M_tokens")], ["m tokens", tokens("m_tokens")], ["M saved", share("saved")], ["strict", share("strict")], ["lenient", share("lenient")],
      ["no answer", share("no_answer")], ["truncated", share("truncated")]);
    if (rows.some((r) => r.cost && isNumber(r.cost.value))) {
      columns.push(["cost a sample", (r) => estimateCell(r.cost, money, "")]);
      if (rows.some((r) => r.M_alone && r.M_alone.cost)) columns.push(["cost of M alone", (r) => estimateCell(r.M_alone && r.M_alone.cost, money, "")]);
      columns.push(["cost saved", share("cost_saved")]);
    }
    for (const k of extraKeys()) columns.push([k.replace(/_/g, " "), tokens(k)]);
    columns.push(["questions", (r) => make("td", {}, count(r.questions) + (r.samples !== r.questions ? " × " + count(r.samples / r.questions) : ""))]);
    const body = make("tbody");
    for (const set of sets) {
      if (sets.length > 1) body.append(make("tr", { class: "group" }, make("th", { colspan: columns.length + 2, scope: "colgroup" }, set)));
      for (const r of rows.filter((x) => x.data === set)) {
        const show = make("button", { type: "button", class: "link" }, "samples");
        show.addEventListener("click", () => { goto({ data: r.data, mode: titleOf(r) }); $("samples-part").scrollIntoView(); });
        body.append(make("tr", {}, make("th", { scope: "row" }, dot(r), titleOf(r)), ...columns.map((c) => c[1](r)), make("td", {}, show)));
      }
    }
    $("table").append(make("thead", {}, make("tr", {}, make("th", { scope: "col" }, sets.length > 1 ? "data and mode" : sets[0]), ...columns.map((c) => make("th", { scope: "col" }, c[0])), make("th", {}))), body);
    $("method").textContent = (R.method ? "Intervals: " + R.method + " " : "") + "M saved: 1 − M tokens of the row / M tokens of M end to end.";
  }

  /* ---- charts ---- */

  const charts = []; /* redrawn when their width changes */
  function chart(parent, caption, paint, legend) {
    const box = make("div"), figure = make("figure", {}, make("figcaption", {}, ...[].concat(caption)), box, legend);
    parent.append(figure);
    charts.push({ box, paint, width: 0 });
  }
  function redraw() {
    for (const c of charts) {
      const w = c.box.clientWidth;
      if (!w || w === c.width) continue;
      c.width = w;
      c.box.replaceChildren(c.paint(w));
    }
  }
  function niceStep(span, n) {
    const raw = span / n || 1, power = Math.pow(10, Math.floor(Math.log10(raw)));
    return power * ([1, 2, 2.5, 5, 10].find((m) => m * power >= raw * 0.999) || 10);
  }
  function axis(lo, hi, n) {
    const step = niceStep(hi - lo, n), from = Math.floor(lo / step + 1e-9) * step, ticks = [];
    for (let x = from; x < hi + step * 0.999; x += step) ticks.push(+x.toPrecision(12));
    return { lo: ticks[0], hi: ticks[ticks.length - 1], ticks };
  }
  /* A frame with axes; gives functions from values to places. */
  function frame(width, height, x, y, xTitle, yTitle, xText, yText) {
    const left = 46, right = 14, top = 26, bottom = 40;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": yTitle + " against " + xTitle });
    const px = (v) => left + ((v - x.lo) / (x.hi - x.lo || 1)) * (width - left - right);
    const py = (v) => height - bottom - ((v - y.lo) / (y.hi - y.lo || 1)) * (height - top - bottom);
    for (const t of y.ticks) {
      svg.append(draw("line", { class: "axis", x1: left, x2: width - right, y1: py(t), y2: py(t) }), draw("text", { class: "tick", x: left - 6, y: py(t) + 4, "text-anchor": "end" }, yText(t)));
    }
    let edge = -1e9;
    for (const t of x.ticks) {
      const text = xText(t), half = text.length * 3.4;
      if (px(t) - half < edge + 6) continue; /* would touch the one before */
      edge = px(t) + half;
      svg.append(draw("text", { class: "tick", x: Math.min(px(t), width - half), y: height - bottom + 16, "text-anchor": "middle" }, text));
    }
    svg.append(draw("text", { class: "tick", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, xTitle));
    return { svg, px, py, left, right, top, bottom };
  }
  const ciOf = (e) => (e && e.ci95 && isNumber(e.ci95[0]) ? e.ci95 : [e.value, e.value]);
  function accuracyAxis(values) {
    const lo = Math.min(...values), hi = Math.max(...values), pad = Math.max(0.03, (hi - lo) * 0.08);
    const a = axis(Math.max(0, lo - pad) * 100, Math.min(1, hi + pad) * 100, 5);
    return a;
  }
  /* Puts each label where no other is: beside its point, else above or below. */
  function labels(f, points, width) {
    const taken = [];
    for (const p of points) {
      const w = p.text.length * 6.4 + 4, places = [[9, -6], [-w - 7, -6], [9, 14], [-w - 7, 14], [9, -22], [-w - 7, -22], [9, 30], [-w - 7, 30], [9, 46], [9, -38]];
      const free = places.map(([dx, dy]) => ({ x: p.x + dx, y: p.y + dy, w })).find((b) => b.x >= f.left && b.x + w <= width - 2 && !taken.some((t) => b.x < t.x + t.w && t.x < b.x + w && Math.abs(b.y - t.y) < 14));
      const b = free || { x: Math.min(p.x + 9, width - w), y: p.y - 6, w };
      taken.push(b);
      f.svg.append(draw("text", { x: b.x, y: b.y, style: "fill:" + p.colour }, p.text));
    }
  }
  function paintFrontier(set) {
    const list = rows.filter((r) => r.data === set && !inCurve(r) && r["avg@k"] && isNumber(r["avg@k"].value) && r.M_tokens && isNumber(r.M_tokens.value));
    return (width) => {
      const xs = list.flatMap((r) => [...ciOf(r.M_tokens), r.M_tokens.value]), ys = list.flatMap((r) => [...ciOf(r["avg@k"]), r["avg@k"].value]);
      const x = axis(0, Math.max(1, ...xs), Math.max(3, Math.floor(width / 110))), y = accuracyAxis(ys);
      const f = frame(width, 300, x, y, "M tokens a sample", "accuracy, %", count, (v) => String(v));
      const points = [];
      for (const r of list) {
        const a = r["avg@k"], px = f.px(r.M_tokens.value), py = f.py(100 * a.value), ci = ciOf(a), cx = ciOf(r.M_tokens), colour = colourOf(r);
        const g = draw("g", { style: `stroke:${colour};fill:${colour}` });
        g.append(draw("title", {}, `${titleOf(r)}: ${percent(a.value)} % (${percent(ci[0])} – ${percent(ci[1])}), ${count(r.M_tokens.value)} M tokens`));
        g.append(draw("line", { x1: px, x2: px, y1: f.py(100 * ci[0]), y2: f.py(100 * ci[1]), "stroke-width": 1.5 }));
        g.append(draw("line", { x1: f.px(cx[0]), x2: f.px(cx[1]), y1: py, y2: py, "stroke-width": 1.5 }));
        for (const v of ci) g.append(draw("line", { x1: px - 4, x2: px + 4, y1: f.py(100 * v), y2: f.py(100 * v), "stroke-width": 1.5 }));
        g.append(draw("circle", { cx: px, cy: py, r: 4.5, stroke: "none" }));
        f.svg.append(g);
        points.push({ x: px, y: py, text: titleOf(r), colour });
      }
      labels(f, points, width);
      return f.svg;
    };
  }
  function drawFrontier() {
    for (const set of sets.filter((x) => rows.some((r) => r.data === x && !inCurve(r)))) chart($("frontier"), ["Accuracy against M tokens ", make("span", { class: "small" }, (sets.length > 1 ? set + ", " : "") + "95 % intervals, accuracy in %")], paintFrontier(set));
  }

  /* ---- the budget curve ---- */

  function drawCurve() {
    const c = R.budget_curve;
    if (!c || !Array.isArray(c.rows) || !c.rows.length) return;
    for (const set of [...new Set(c.rows.map((r) => r.data))]) {
      const list = c.rows.filter((r) => r.data === set && isNumber(r.accuracy.value));
      const paint = (width) => {
        const ys = list.flatMap((r) => [...ciOf(r.accuracy), r.accuracy.value]);
        const f = frame(width, 300, axis(0, 100, width < 420 ? 5 : 10), accuracyAxis(ys), "share of the signal that m has seen, %", "accuracy, %", String, String);
        const up = list.map((r) => `${f.px(100 * r.share)},${f.py(100 * ciOf(r.accuracy)[1])}`), down = list.map((r) => `${f.px(100 * r.share)},${f.py(100 * ciOf(r.accuracy)[0])}`).reverse();
        f.svg.append(draw("polygon", { points: [...up, ...down].join(" "), style: "fill:var(--c3);opacity:.15" }));
        f.svg.append(draw("polyline", { points: list.map((r) => `${f.px(100 * r.share)},${f.py(100 * r.accuracy.value)}`).join(" "), style: "fill:none;stroke:var(--c3);stroke-width:2" }));
        for (const r of list) {
          const p = draw("circle", { cx: f.px(100 * r.share), cy: f.py(100 * r.accuracy.value), r: 4, style: "fill:var(--c3)" });
          p.append(draw("title", {}, `${percent(r.share, 0)} % of the signal (${count(r.signal_tokens.value)} tokens): ${percent(r.accuracy.value)} %`));
          f.svg.append(p);
        }
        return f.svg;
      };
      chart($("curve"), ["Accuracy of m against the share of M's signal it has seen ", make("span", { class: "small" }, set)], paint, make("p", { class: "small" }, c.caveat || ""));
    }
  }

  /* ---- paired differences ---- */

  function drawDifferences() {
    const list = R.differences || [];
    if (!list.length) return;
    const body = make("tbody"), name = (d, x) => titleOf({ mode: x.mode, variant: x.variant });
    for (const d of list) {
      const a = d.accuracy, t = d.M_tokens, ci = (x, f) => (isNumber(x.ci95[0]) ? make("span", { class: "ci" }, f(x.ci95[0]) + " – " + f(x.ci95[1])) : null);
      const p = (x) => (isNumber(x.p) ? (x.p < 0.0001 ? "< 0.0001" : x.p.toPrecision(2)) : "–");
      body.append(make("tr", {}, make("th", { scope: "row" }, (sets.length > 1 ? d.data + ": " : "") + name(d, d.b) + " − " + name(d, d.a)), make("td", {}, percent(a.difference), ci(a, percent)), make("td", {}, p(a)),
        make("td", {}, `${a.up} / ${a.down}`), make("td", {}, count(t.difference), ci(t, count)), make("td", {}, p(t))));
    }
    $("differences").append(make("details", {}, make("summary", {}, plural(list.length, "paired difference") + " between rows, question by question"),
      make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Paired differences" }, make("table", {}, make("thead", {}, make("tr", {}, ...["rows", "accuracy, points", "p", "questions up / down", "M tokens", "p"].map((h) => make("th", { scope: "col" }, h)))), body))));
  }

  /* ---- samples: the index of all, texts on demand ---- */

  const S = { row: [], flags: [], M: [], m: [], repeat: [], id: [] };
  const chunkBlocks = [...document.querySelectorAll("script.chunk")], starts = [];
  for (const block of document.querySelectorAll("script.index")) {
    starts.push(S.row.length);
    for (const [row, flags, M, m, repeat, id] of JSON.parse(block.textContent)) {
      S.row.push(row); S.flags.push(flags); S.M.push(M); S.m.push(m); S.repeat.push(repeat); S.id.push(id);
    }
    block.textContent = "";
  }
  const total = S.row.length, parsed = new Map();
  function chunkNumber(i) {
    let lo = 0, hi = starts.length;
    while (hi - lo > 1) { const mid = (lo + hi) >> 1; if (starts[mid] <= i) lo = mid; else hi = mid; }
    return lo;
  }
  function chunkAt(k) {
    if (!parsed.has(k)) {
      parsed.set(k, JSON.parse(chunkBlocks[k].textContent));
      if (parsed.size > KEPT_CHUNKS) parsed.delete(parsed.keys().next().value);
    }
    return parsed.get(k);
  }
  const sampleAt = (i) => { const k = chunkNumber(i); return chunkAt(k)[i - starts[k]]; };

  /* ---- histograms ---- */

  function binned(width, of) {
    const right = [], wrong = [];
    for (let i = 0; i < total; i++) if (S.row[i] === of) (S.flags[i] & SCORE ? right : wrong).push(S.M[i]);
    let top = 1;
    for (const v of [right, wrong]) for (const x of v) if (x > top) top = x;
    const step = Math.max(1, Math.ceil(niceStep(top, Math.max(8, Math.min(32, Math.floor(width / 26)))))), n = Math.floor(top / step) + 1;
    const fill = (v) => { const b = new Array(n).fill(0); for (const x of v) b[Math.min(n - 1, Math.floor(x / step))]++; return b; };
    return { right, wrong, step, n, up: fill(right), down: fill(wrong) };
  }
  const median = (v) => { const s = [...v].sort((a, b) => a - b); return s.length ? (s[(s.length - 1) >> 1] + s[s.length >> 1]) / 2 : NaN; };
  function drawHistogram() {
    const of = Number($("length-row").value), r = rows[of], h = binned(600, of);
    for (let i = charts.length; i-- > 0;) if ($("histogram").contains(charts[i].box)) charts.splice(i, 1);
    $("histogram").replaceChildren();
    if (!r) return;
    const paint = (width) => {
      const b = binned(width, of), most = Math.max(1, ...b.up, ...b.down), x = axis(0, b.n * b.step, Math.max(3, Math.floor(width / 110))), y = axis(-most, most, 6);
      x.hi = Math.max(b.n * b.step, 1);
      x.ticks = x.ticks.filter((t) => t <= x.hi);
      const f = frame(width, 300, x, { lo: -most, hi: most, ticks: y.ticks.filter((t) => Math.abs(t) <= most && Number.isInteger(t)) }, "tokens that M wrote", "samples", count, (v) => String(Math.abs(v)));
      const bar = (i, n, sign, colour, word) => {
        if (!n) return;
        const x0 = f.px(i * b.step), x1 = f.px((i + 1) * b.step), y0 = f.py(0), y1 = f.py(sign * n);
        const rect = draw("rect", { x: x0 + 0.5, width: Math.max(0.8, x1 - x0 - 1), y: Math.min(y0, y1), height: Math.abs(y1 - y0), style: "fill:" + colour });
        rect.append(draw("title", {}, `${count(i * b.step)} to ${count((i + 1) * b.step)} tokens: ${n} ${word}`));
        f.svg.append(rect);
      };
      for (let i = 0; i < b.n; i++) { bar(i, b.up[i], 1, "var(--good)", "right"); bar(i, b.down[i], -1, "var(--bad)", "wrong"); }
      f.svg.append(draw("line", { x1: f.left, x2: width - f.right, y1: f.py(0), y2: f.py(0), style: "stroke:var(--ink)" }));
      return f.svg;
    };
    const part = (v, word, colour) => make("span", {}, make("span", { class: "dot", style: "background:" + colour }), `${plural(v.length, "sample")} ${word}` + (v.length ? `, median ${count(median(v))} tokens` : ""));
    chart($("histogram"), [(sets.length > 1 ? r.data + ", " : "") + titleOf(r) + " ", make("span", { class: "small" }, "right above the line, wrong below")], paint, make("div", { class: "legend" }, part(h.right, "right", "var(--good)"), part(h.wrong, "wrong", "var(--bad)")));
    redraw();
  }
  function offerLengths() {
    const select = $("length-row"), usable = rows.map((r, i) => i).filter((i) => rows[i].M_tokens && rows[i].M_tokens.value > 0);
    for (const i of usable) select.append(make("option", { value: i }, (sets.length > 1 ? rows[i].data + ": " : "") + titleOf(rows[i])));
    const pair = usable.find((i) => rows[i].mode === "duet" && ["", "after", "signal 100 %"].includes(rows[i].variant));
    if (!usable.length) { $("lengths-part").hidden = true; return; }
    select.value = pair == null ? usable[0] : pair;
    select.addEventListener("change", drawHistogram);
    drawHistogram();
  }

  /* ---- the list ---- */

  const form = $("filters"), checks = ["disputed", "silent", "cut"], texts = ["data", "mode", "verdict", "order", "q"];
  const state = { page: 0, id: "" };
  let order = [], running = 0;

  function passes(i) {
    const r = rows[S.row[i]], f = S.flags[i], v = form.elements.verdict.value;
    return (!form.elements.data.value || r.data === form.elements.data.value) && (!form.elements.mode.value || titleOf(r) === form.elements.mode.value) &&
      (!v || (v === "right") === !!(f & SCORE)) && (!form.elements.disputed.checked || !(f & STRICT) !== !(f & LENIENT)) && (!form.elements.silent.checked || f & SILENT) &&
      (!form.elements.cut.checked || f & CUT) && (!state.id || S.id[i] === state.id);
  }
  const hasText = (v, q) => typeof v === "string" ? v.toLowerCase().includes(q) : v && typeof v === "object" ? Object.values(v).some((x) => hasText(x, q)) : false;

  function sorted(list) {
    const by = form.elements.order.value;
    return by ? list.sort((a, b) => (by === "long" ? S.M[b] - S.M[a] : S.M[a] - S.M[b]) || a - b) : list;
  }
  function say(text) { $("found").textContent = text; }
  /* Filters by the index at once; a search reads texts, some chunks at a time. */
  function find() {
    const q = form.elements.q.value.toLowerCase(), mine = ++running, list = [];
    keepState();
    let some = [];
    for (let i = 0; i < total; i++) if (passes(i)) some.push(i);
    if (!q) { order = sorted(some); show(); return; }
    let at = 0;
    (function go_on() {
      if (mine !== running) return;
      const until = performance.now() + 30;
      while (at < some.length && performance.now() < until) {
        const k = chunkNumber(some[at]), known = parsed.has(k), chunk = known ? parsed.get(k) : JSON.parse(chunkBlocks[k].textContent); /* what is only passed through is not kept */
        for (; at < some.length && chunkNumber(some[at]) === k; at++) if (hasText(chunk[some[at] - starts[k]], q)) list.push(some[at]);
      }
      if (at < some.length) { say(`searching: ${at.toLocaleString("en-US")} of ${some.length.toLocaleString("en-US")}, ${list.length.toLocaleString("en-US")} found`); setTimeout(go_on, 0); return; }
      order = sorted(list);
      show();
    })();
  }
  function show() {
    const pages = Math.max(1, Math.ceil(order.length / PAGE));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    say(order.length === total ? plural(total, "sample") : `${order.length.toLocaleString("en-US")} of ${plural(total, "sample")}`);
    $("list").replaceChildren(...order.slice(state.page * PAGE, (state.page + 1) * PAGE).map(entry));
    $("where").textContent = `page ${state.page + 1} of ${pages.toLocaleString("en-US")}`;
    $("back").disabled = state.page === 0;
    $("on").disabled = state.page + 1 >= pages;
    $("one").hidden = !state.id;
    if (state.id) {
      const all = make("button", { type: "button", class: "link" }, "all questions");
      all.addEventListener("click", () => { state.id = ""; state.page = 0; find(); });
      $("one").replaceChildren("only question ", make("b", {}, state.id), " · ", all);
    }
    keepState();
  }
  function turn(by) {
    state.page += by;
    show();
    const first = $("list").querySelector("summary");
    if (first) first.focus({ preventScroll: true });
    $("found").scrollIntoView();
  }
  function entry(i) {
    const r = rows[S.row[i]], f = S.flags[i], s = sampleAt(i);
    const said = s && s.lenient ? s.lenient.extraction : null;
    const summary = make("summary", {}, make("span", { class: "badge " + (f & SCORE ? "good" : "bad") }, f & SCORE ? "right" : "wrong"), make("span", {}, dot(r), (sets.length > 1 ? r.data + ", " : "") + titleOf(r)),
      make("b", {}, S.id[i] + (r.samples !== r.questions ? " #" + S.repeat[i] : "")), make("span", { class: "said" }, said == null ? (f & SILENT ? "no answer" : "nothing extracted") : said),
      !(f & STRICT) !== !(f & LENIENT) ? make("span", { class: "badge" }, "strict ≠ lenient") : null, f & CUT ? make("span", { class: "badge" }, "truncated") : null,
      make("span", { class: "small" }, `M ${count(S.M[i])} · m ${count(S.m[i])} tokens`));
    const d = make("details", { class: "sample", "data-i": i }, summary);
    d.addEventListener("toggle", () => { if (d.open && d.children.length === 1) d.append(bodyOf(i)); });
    return d;
  }
  function text(title, s, n) {
    return [make("h3", {}, title, n ? make("span", { class: "small" }, n) : null), s === "" ? make("p", { class: "small" }, "(empty)") : make("pre", { tabindex: "0" }, s)];
  }
  function verdictRow(name, v, said) {
    return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, said == null ? make("span", { class: "small" }, "nothing") : make("code", {}, said)),
      make("td", { class: v == null ? "" : v ? "good" : "bad" }, v == null ? "" : v ? "right" : "wrong"));
  }
  function bodyOf(i) {
    const s = sampleAt(i), body = make("div", { class: "body" });
    if (!s) {
      body.append(make("p", { class: "note" }, `The page is full: this sample is line ${i + 1} of samples.jsonl.`));
      return body;
    }
    const shown = ["data", "mode", "variant", "id", "question", "truth", "signal", "answer", "strict", "lenient", "score"];
    const same = make("button", { type: "button", class: "link" }, "all samples of this question");
    same.addEventListener("click", () => { state.id = S.id[i]; state.page = 0; form.elements.mode.value = form.elements.verdict.value = form.elements.q.value = ""; checks.forEach((c) => { form.elements[c].checked = false; }); find(); });
    body.append(...(s.question == null ? [make("h3", {}, "Question"), make("p", { class: "small" }, "Kept out of this file: its owner asks that it is published nowhere.")] : text("Question", s.question)));
    if (s.mode !== "m") body.append(...text(s.mode === "M" ? "Thought of M" : "Signal of M", s.signal || "", count(S.M[i]) + " tokens"));
    body.append(...text(s.mode === "M" ? "Answer of M" : "Answer of m", s.answer || "", s.mode === "M" ? null : count(S.m[i]) + " tokens"));
    const strict = s.strict || {}, lenient = s.lenient || {};
    body.append(make("h3", {}, "Verdict"), make("table", { class: "plain" }, make("tbody", {}, verdictRow("truth", null, s.truth), verdictRow("strict", strict.right, strict.extraction), verdictRow("lenient", lenient.right, lenient.extraction),
      make("tr", {}, make("th", { scope: "row" }, "score"), make("td", {}, String(s.score)), make("td", {})))));
    const rest = Object.keys(s).filter((k) => !shown.includes(k));
    body.append(make("p", { class: "small" }, rest.map((k) => k + ": " + (typeof s[k] === "string" ? s[k] : JSON.stringify(s[k]))).join(" · ")), make("p", {}, same));
    return body;
  }

  /* ---- the state of the list in the address, so that a view can be kept and sent ---- */

  function keepState() {
    const p = new URLSearchParams();
    for (const k of texts) if (form.elements[k].value) p.set(k, form.elements[k].value);
    for (const k of checks) if (form.elements[k].checked) p.set(k, "1");
    if (state.id) p.set("id", state.id);
    if (state.page) p.set("page", state.page + 1);
    const hash = p.toString();
    if (hash || location.hash.length > 1) try { history.replaceState(null, "", "#" + hash); } catch (e) { /* some browsers forbid it for files */ }
  }
  function goto(wanted) {
    for (const k of texts) form.elements[k].value = wanted[k] || "";
    for (const k of checks) form.elements[k].checked = !!wanted[k];
    for (const k of ["data", "mode", "verdict", "order"]) if (form.elements[k].selectedIndex < 0) form.elements[k].value = "";
    state.id = wanted.id || "";
    state.page = (Number(wanted.page) || 1) - 1;
    find();
  }
  function fromAddress() {
    const p = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    if (p.t) { const part = $(p.t + "-part"); if (part) part.scrollIntoView(); }
    return p;
  }

  /* ---- how it was made ---- */

  function plain(value) {
    if (Array.isArray(value) && value.every((x) => typeof x !== "object")) return value.join(", ");
    return value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value);
  }
  function facts(title, o) {
    if (!o || !Object.keys(o).length) return [];
    const body = make("tbody");
    for (const k in o) {
      if (o[k] && typeof o[k] === "object" && !Array.isArray(o[k])) for (const inner in o[k]) body.append(make("tr", {}, make("th", { scope: "row" }, k + "." + inner), make("td", {}, plain(o[k][inner]))));
      else body.append(make("tr", {}, make("th", { scope: "row" }, k), make("td", {}, plain(o[k]))));
    }
    return [make("h3", {}, title), make("table", { class: "plain" }, body)];
  }
  function drawSetup() {
    for (const s of R.sets || []) {
      const told = (s.instructions || []).filter((x) => x !== "");
      $("sets").append(make("h3", {}, s.data), make("p", {}, plural(s.questions, "question") + (told.length ? ". Added to each question:" : ". Nothing is added to the questions.")), ...told.map((x) => make("pre", {}, x)));
    }
    const known = ["rows", "differences", "method", "settings", "fingerprint", "sets", "problems", "budget_curve"], other = {};
    for (const k in R) if (!known.includes(k)) other[k] = R[k];
    $("setup").append(...facts("Fingerprint", R.fingerprint), ...facts("Settings", R.settings), ...facts("More", other));
  }
  function drawProblems() {
    const list = [];
    for (const s of R.sets || []) {
      for (const f of s.faults || []) list.push(f);
      const more = (s.n_faults || 0) - (s.faults || []).length;
      if (more > 0) list.push(`${s.data}: ${plural(more, "line")} more like these`);
    }
    for (const p of R.problems || []) list.push(typeof p === "string" ? p : p.text || JSON.stringify(p));
    if (R.interrupted) list.unshift("The evaluation was interrupted: this is what was done by then.");
    if (!list.length) return;
    $("problems").append(make("details", { class: "note", open: list.length <= 3 }, make("summary", {}, plural(list.length, "problem")), make("ul", {}, ...list.map((x) => make("li", {}, x)))));
  }

  /* ---- go ---- */

  function offer(name, list) {
    form.elements[name].append(make("option", { value: "" }, "all"), ...list.map((x) => make("option", { value: x }, x)));
  }
  function keys(e) {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "Escape" && typing) { document.activeElement.blur(); return; }
    if (typing) return;
    if (e.key === "/") { form.elements.q.focus(); e.preventDefault(); }
    else if (e.key === "n" && !$("on").disabled) turn(1);
    else if (e.key === "p" && !$("back").disabled) turn(-1);
    else if (e.key === "j" || e.key === "k") {
      const all = [...$("list").querySelectorAll("details > summary")], here = document.activeElement.closest ? document.activeElement.closest("details.sample") : null;
      const at = here ? all.indexOf(here.firstElementChild) + (e.key === "j" ? 1 : -1) : 0, next = all[Math.min(all.length - 1, Math.max(0, at))];
      if (next) { next.focus({ preventScroll: true }); next.scrollIntoView({ block: "nearest" }); }
    }
  }
  const themes = ["system", "light", "dark"];
  $("theme").addEventListener("click", () => {
    const root = document.documentElement, next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % 3];
    if (next === "system") delete root.dataset.theme; else root.dataset.theme = next;
    $("theme").textContent = "Colours: " + next;
  });

  const what = R.settings || {}, pair = [what.M && "M " + what.M, what.m && "m " + what.m].filter(Boolean).join(", ");
  $("about").textContent = [pair, sets.join(", "), plural(total, "sample"), "duet " + NOTES.duet].filter(Boolean).join(" · ");
  document.title = "duet evaluation: " + sets.join(", ");
  drawTable();
  drawFrontier();
  drawCurve();
  drawDifferences();
  drawProblems();
  drawSetup();
  offerLengths();
  redraw();
  new ResizeObserver(redraw).observe(document.body);
  const remarks = [];
  if (NOTES.shortened) remarks.push(`${plural(NOTES.shortened, "text")} longer than ${count(NOTES.longest)} bytes: beginning and end are here, all of it in samples.jsonl.`);
  if (NOTES.left_out) remarks.push(`${plural(NOTES.left_out, "sample")} have no texts here, the page is full; samples.jsonl has them all.`);
  $("shortened").hidden = !remarks.length;
  $("shortened").textContent = remarks.join(" ");
  offer("data", sets);
  offer("mode", modes);
  form.addEventListener("submit", (e) => { e.preventDefault(); state.page = 0; find(); });
  form.addEventListener("change", () => { state.page = 0; find(); });
  form.elements.q.addEventListener("search", () => { state.page = 0; find(); });
  $("back").addEventListener("click", () => turn(-1));
  $("on").addEventListener("click", () => turn(1));
  document.addEventListener("keydown", keys);
  addEventListener("hashchange", () => { const p = fromAddress(); if (!p.t) goto(p); });
  goto(fromAddress());
})();

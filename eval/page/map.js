"use strict";
// The map of the report: points on a canvas, found again by a grid, linked with the findings above it.
(() => {
  const by = id => document.getElementById(id);
  const data = JSON.parse(by("map-data").textContent), n = data.x.length;
  const canvas = by("map"), pen = canvas.getContext("2d"), panel = by("passage"), legend = by("legend"), hint = panel.firstElementChild;
  const swatch = legend.querySelector("svg").cloneNode(true);
  const REACH = 14, MARGIN = 18, MAX_ZOOM = 200;
  const flagsOf = Array.from({ length: n }, () => []);
  data.links.forEach((points, flag) => points.forEach(point => flagsOf[point].push(flag)));
  const flagged = flagsOf.flatMap((flags, i) => flags.length ? [i] : []);
  const unstable = new Set(data.unstable);
  let colouring = data.colourings.find(c => c.name === data.colour) || data.colourings[0];
  let width = 0, height = 0, fit = 1, zoom = 1, left = 0, top = 0; // a point is drawn at x·fit·zoom − left, y·fit·zoom − top
  let current = -1, query = -1, isolated = -1, chosen = null, queued = false, colours = {};

  // Points by cells of a grid, so that the nearest one is found among a few.
  const xs = [...data.x, ...data.queries.map(q => q[1])], ys = [...data.y, ...data.queries.map(q => q[2])];
  const box = { left: least(xs), right: most(xs), top: least(ys), bottom: most(ys) };
  const cells = Math.max(1, Math.ceil(Math.sqrt(n / 3))), grid = new Map();
  const cell = v => Math.min(cells - 1, Math.max(0, Math.floor(v * cells)));
  for (let i = 0; i < n; i++) { const key = cell(data.y[i]) * cells + cell(data.x[i]); grid.has(key) ? grid.get(key).push(i) : grid.set(key, [i]); }
  function least(values) { return values.reduce((a, b) => Math.min(a, b), Infinity); }
  function most(values) { return values.reduce((a, b) => Math.max(a, b), -Infinity); }

  const scale = () => fit * zoom;
  const screen = (x, y) => [x * scale() - left, y * scale() - top];
  const onScreen = i => screen(data.x[i], data.y[i]);

  function resize() {
    width = canvas.clientWidth || 600;
    const w = Math.max(1e-6, box.right - box.left), h = Math.max(1e-6, box.bottom - box.top);
    height = Math.round(width * Math.min(1, Math.max(.3, h / w)));
    fit = Math.min((width - 2 * MARGIN) / w, (height - 2 * MARGIN) / h);
    const dots = window.devicePixelRatio || 1;
    canvas.width = width * dots; canvas.height = height * dots; canvas.style.height = `${height}px`;
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    whole();
  }
  function whole() {
    zoom = 1;
    left = (box.left + box.right) / 2 * fit - width / 2; top = (box.top + box.bottom) / 2 * fit - height / 2;
    moved();
  }
  function zoomBy(factor, x = width / 2, y = height / 2) {
    const before = zoom;
    zoom = Math.min(MAX_ZOOM, Math.max(1, zoom * factor));
    if (zoom === 1) return whole();
    const k = zoom / before;
    left = (left + x) * k - x; top = (top + y) * k - y;
    moved();
  }
  function pan(dx, dy) { left -= dx; top -= dy; moved(); }
  function moved() { canvas.classList.toggle("near", zoom > 1); canvas.dataset.zoom = zoom.toFixed(2); redraw(); }
  function redraw() { if (!queued) { queued = true; requestAnimationFrame(() => { queued = false; draw(); }); } }

  function readColours() {
    const style = getComputedStyle(document.documentElement), shade = (kind, i) => style.getPropertyValue(`--${kind}${i}`).trim();
    colours = { ink: style.getPropertyValue("--ink").trim(), mark: style.getPropertyValue("--mark").trim() };
    for (const kind of "gb") colours[kind] = Array.from({ length: 8 }, (_, i) => shade(kind, i));
  }
  const isDim = i => (isolated >= 0 && colouring.of[i] !== isolated) || (chosen !== null && !chosen.has(i));

  function draw() {
    pen.clearRect(0, 0, width, height);
    const size = Math.min(7, Math.min(1, Math.sqrt(width / 640)) * (n > 20000 ? 1.1 : n > 5000 ? 1.5 : n > 1000 ? 2.4 : 3.6) * Math.sqrt(zoom) ** .7);
    const shades = colours[colouring.ordered ? "b" : "g"], groups = colouring.labels.map(() => [[], []]);
    for (let i = 0; i < n; i++) {
      const [x, y] = onScreen(i);
      if (x > -9 && y > -9 && x < width + 9 && y < height + 9) groups[colouring.of[i]][isDim(i) ? 0 : 1].push(x, y);
    }
    for (const layer of [0, 1]) {
      pen.globalAlpha = layer ? .8 : .13;
      groups.forEach((layers, label) => { pen.fillStyle = shades[colouring.shades[label]]; dots(layers[layer], size); });
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = colours.mark; pen.lineWidth = n > 5000 ? 1.2 : 1.8;
    const ringed = chosen === null ? flagged : [...chosen];
    if (n <= 5000 || zoom > 3 || chosen !== null) ringed.filter(i => chosen !== null || !isDim(i)).forEach(i => ring(i, size + 1.5));
    pen.strokeStyle = colours.ink; pen.lineWidth = 2;
    data.queries.forEach(([, x, y], i) => { const [a, b] = screen(x, y), r = i === query ? 9 : 5; pen.beginPath(); pen.moveTo(a - r, b); pen.lineTo(a + r, b); pen.moveTo(a, b - r); pen.lineTo(a, b + r); pen.stroke(); });
    if (current >= 0) { pen.lineWidth = 2.5; ring(current, size + 4); }
  }
  function dots(places, size) {
    if (n > 5000) { for (let i = 0; i < places.length; i += 2) pen.fillRect(places[i] - size, places[i + 1] - size, 2 * size, 2 * size); return; }
    pen.beginPath();
    for (let i = 0; i < places.length; i += 2) { pen.moveTo(places[i] + size, places[i + 1]); pen.arc(places[i], places[i + 1], size, 0, 7); }
    pen.fill();
  }
  function ring(i, radius) { const [x, y] = onScreen(i); pen.beginPath(); pen.arc(x, y, radius, 0, 7); pen.stroke(); }

  // The nearest point to a place on the screen; queries go first. -1 where none is within reach.
  function nearest(x, y) {
    const mine = data.queries.findIndex(q => { const [a, b] = screen(q[1], q[2]); return Math.hypot(a - x, b - y) < REACH; });
    if (mine >= 0) return { query: mine };
    const reach = REACH / scale(), px = (x + left) / scale(), py = (y + top) / scale();
    let best = -1, distance = reach;
    for (let row = cell(py - reach); row <= cell(py + reach); row++)
      for (let column = cell(px - reach); column <= cell(px + reach); column++)
        for (const i of grid.get(row * cells + column) || []) {
          const d = Math.hypot(data.x[i] - px, data.y[i] - py);
          if (d < distance && !isDim(i)) { best = i; distance = d; }
        }
    return { point: best };
  }
  function beside(dx, dy) { // the nearest point in a direction, within 45 degrees of it
    let best = -1, distance = Infinity;
    for (let i = 0; i < n; i++) {
      if (i === current || isDim(i)) continue;
      const x = data.x[i] - data.x[current], y = data.y[i] - data.y[current], ahead = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
      const d = ahead + 2 * aside;
      if (ahead > 0 && aside <= ahead && d < distance) { best = i; distance = d; }
    }
    return best;
  }

  function element(name, text, kind) { const made = document.createElement(name); if (text) made.textContent = text; if (kind) made.className = kind; return made; }
  function show(i) {
    if (i < 0 || (i === current && query < 0)) return;
    current = i; query = -1;
    panel.replaceChildren(element("p", data.name[i]), element("p", `${colouring.labels[colouring.of[i]]} · ${data.unit === "chunks" ? "chunk " : ""}${data.id[i]}${unstable.has(i) ? " · its place depends on the start" : ""}`, "note"));
    panel.firstChild.style.fontWeight = 600;
    if (flagsOf[i].length) panel.append(findings(i));
    panel.append(element("p", data.text[i]));
    canvas.dispatchEvent(new CustomEvent("passage", { detail: i }));
    redraw();
  }
  function findings(i) {
    const list = element("ul", "", "flagged");
    for (const flag of flagsOf[i].slice(0, 8)) {
      const [kind, sure, isListed] = data.flags[flag], item = element("li"), said = `${kind}, ${sure}% sure`;
      if (isListed) {
        const link = element("a", said);
        link.href = `#finding-${flag}`;
        link.addEventListener("click", () => { for (let e = by(`finding-${flag}`); e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true; });
        item.append(link);
      } else item.textContent = said;
      list.append(item);
    }
    if (flagsOf[i].length > 8) list.append(element("li", `and ${flagsOf[i].length - 8} more`));
    return list;
  }
  function showQuery(i) {
    if (i === query) return;
    query = i; current = -1;
    panel.replaceChildren(element("p", data.queries[i][0]), element("p", "A query, placed among the passages nearest to it:", "note"));
    panel.firstChild.style.fontWeight = 600;
    const list = element("ul");
    for (const point of data.queries[i][3]) list.append(element("li", data.name[point]));
    panel.append(list);
    redraw();
  }
  function bring(i) { const [x, y] = onScreen(i); if (x < MARGIN || y < MARGIN || x > width - MARGIN || y > height - MARGIN) pan(width / 2 - x, height / 2 - y); }
  function clear() { current = query = isolated = -1; chosen = null; by("clear").hidden = true; panel.replaceChildren(hint); drawLegend(); redraw(); canvas.dispatchEvent(new Event("clear")); }

  function choose(points) {
    chosen = new Set(points); isolated = -1; query = -1; current = -1;
    by("clear").hidden = false;
    panel.replaceChildren(hint);
    drawLegend(); redraw();
  }
  function select(flag) { // a finding's points, and the first of them
    choose(data.links[flag]); whole();
    show(data.links[flag][0]);
    by("map-section").scrollIntoView(); canvas.focus({ preventScroll: true });
  }
  function drawLegend() {
    legend.classList.toggle("bands", colouring.ordered);
    legend.setAttribute("aria-label", `Colours: ${by("colour").selectedOptions[0].textContent}`);
    const counts = colouring.labels.map(() => 0);
    colouring.of.forEach(label => counts[label]++);
    legend.replaceChildren(...colouring.labels.map((label, i) => {
      const button = element("button"), item = element("li");
      const picture = swatch.cloneNode(true);
      picture.firstElementChild.setAttribute("class", `g${colouring.shades[i]}`);
      button.type = "button"; button.setAttribute("aria-pressed", isolated === i);
      button.append(picture, element("span", label), element("span", counts[i].toLocaleString("en"), "n"));
      button.addEventListener("click", () => { isolated = isolated === i ? -1 : i; chosen = null; by("clear").hidden = isolated < 0; drawLegend(); legend.children[i].firstChild.focus(); redraw(); });
      item.append(button);
      return item;
    }));
  }

  // Mouse, pen and fingers: one drags or points, two pinch.
  const held = new Map();
  let dragged = 0;
  const place = event => { const at = canvas.getBoundingClientRect(); return [event.clientX - at.left, event.clientY - at.top]; };
  function point(event) { const found = nearest(...place(event)); if (found.query !== undefined) showQuery(found.query); else show(found.point); }
  canvas.addEventListener("pointerdown", event => { held.set(event.pointerId, place(event)); dragged = 0; if (event.pointerType === "mouse" || zoom > 1) canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", event => {
    const before = held.get(event.pointerId), now = place(event);
    if (!before) return point(event);
    const other = [...held].find(([id]) => id !== event.pointerId);
    held.set(event.pointerId, now);
    dragged += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (other) {
      const [x, y] = other[1], spread = p => Math.max(1, Math.hypot(p[0] - x, p[1] - y));
      zoomBy(spread(now) / spread(before), (now[0] + x) / 2, (now[1] + y) / 2);
    } else if (dragged > 4) pan(now[0] - before[0], now[1] - before[1]);
  });
  canvas.addEventListener("pointerup", event => { held.delete(event.pointerId); if (dragged <= 4) point(event); });
  canvas.addEventListener("pointercancel", event => held.delete(event.pointerId));
  canvas.addEventListener("wheel", event => { // scrolls the page unless the map has the focus
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), ...place(event));
  }, { passive: false });
  canvas.addEventListener("dblclick", event => zoomBy(2, ...place(event)));

  const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  canvas.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key], key = event.key.toLowerCase();
    if (arrow && event.shiftKey) pan(-60 * arrow[0], -60 * arrow[1]);
    else if (arrow) { show(current < 0 ? tour()[0] ?? 0 : beside(...arrow)); bring(current); }
    else if (key === "n" || key === "p") step(key === "n" ? 1 : -1);
    else if (key === "+" || key === "=") zoomBy(1.5, ...(current >= 0 ? onScreen(current) : []));
    else if (key === "-") zoomBy(1 / 1.5);
    else if (key === "0") whole();
    else if (key === "escape") clear();
    else return;
    event.preventDefault();
  });
  const tour = () => chosen !== null ? [...chosen] : flagged;
  function step(by) {
    const points = tour();
    if (!points.length) return;
    const at = points.indexOf(current);
    show(points[at < 0 ? (by > 0 ? 0 : points.length - 1) : (at + by + points.length) % points.length]);
    bring(current);
  }

  by("colour").addEventListener("change", event => { colouring = data.colourings.find(c => c.name === event.target.value); isolated = -1; drawLegend(); redraw(); });
  by("zoom-in").addEventListener("click", () => zoomBy(1.6));
  by("zoom-out").addEventListener("click", () => zoomBy(1 / 1.6));
  by("whole").addEventListener("click", whole);
  by("clear").addEventListener("click", () => { clear(); canvas.focus({ preventScroll: true }); });
  for (const button of document.querySelectorAll(".show")) {
    const flag = Number(button.dataset.finding);
    if (!data.links[flag]?.length) continue;
    button.hidden = false;
    button.addEventListener("click", () => select(flag));
  }
  canvas.hidden = panel.hidden = document.querySelector(".controls").hidden = false;
  document.querySelector("svg.map")?.setAttribute("hidden", "");
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", () => { readColours(); draw(); });
  new ResizeObserver(() => { if (canvas.clientWidth !== width) resize(); }).observe(canvas);
  readColours(); drawLegend(); resize();
  canvas.dispatchEvent(new CustomEvent("ready", { detail: { data, onScreen, choose } })); // for a page that adds to the map
})();

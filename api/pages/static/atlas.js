"use strict";
// What this server adds to a report's map: its points come by themselves, a lasso lists passages, queries are shown.
(() => {
  const SHOWN = 200, NEAR = 12; // passages of a list; of those near the current one
  const by = id => document.getElementById(id);
  const canvas = by("map"), noose = by("noose"), asked = JSON.parse(by("asked").textContent), own = by("chosen").cloneNode(true);
  let map = null, current = -1, isDrawing = false, way = [];

  async function load() {
    by("loading").textContent = "Loading the map …";
    const answer = await fetch(canvas.dataset.address);
    if (!answer.ok) { by("loading").textContent = "The map can’t be loaded. Load this page again."; return; }
    const data = await answer.json();
    if (asked.query) data.queries = [asked.query];
    if (asked.axis) { data.colourings.push(asked.axis); by("colour").append(new Option(asked.axis.title, "axis", true, true)); data.colour = "axis"; }
    by("map-data").textContent = JSON.stringify(data);
    const script = document.createElement("script");
    script.src = "static/map.js";
    document.body.append(script);
  }
  canvas.addEventListener("ready", event => {
    map = event.detail;
    by("loading").remove();
    if (asked.hits) map.choose(asked.hits);
    else if (asked.finding !== undefined && map.data.links[asked.finding]?.length) { map.choose(map.data.links[asked.finding]); list(map.data.links[asked.finding], "in the finding"); }
    canvas.dataset.ready = "";
  });
  load();

  const address = i => `document?${new URLSearchParams({ id: map.data.document ? map.data.document[i] : map.data.id[i], chunk: map.data.id[i] })}#passage`;
  function element(name, text, given = {}) { return Object.assign(document.createElement(name), { textContent: text }, given); }

  canvas.addEventListener("passage", event => {
    current = event.detail;
    const line = element("p", "", { className: "acts" });
    line.append(element("a", "Open", { href: address(current) }));
    line.append(element("a", "Similar passages", { href: `similar?${new URLSearchParams({ like: map.data.id[current] })}` }));
    by("passage").append(line);
  });
  canvas.addEventListener("clear", () => { current = -1; by("chosen").replaceWith(own.cloneNode(true)); });

  function list(points, what) {
    const section = by("chosen");
    section.hidden = false;
    section.querySelector("h2").textContent = `${points.length.toLocaleString("en")} passage${points.length === 1 ? "" : "s"} ${what}`;
    section.querySelectorAll(".facts").forEach(line => line.remove());
    by("list").replaceChildren(...points.slice(0, SHOWN).map(i => {
      const item = element("li", "");
      item.append(element("a", map.data.name[i], { href: address(i) }), " ", element("span", map.data.text[i]));
      return item;
    }));
    if (points.length > SHOWN) by("list").append(element("li", `and ${(points.length - SHOWN).toLocaleString("en")} more`));
  }

  // The lasso: a canvas above the map takes the pointer while it is drawn.
  function lasso(on) {
    isDrawing = on;
    by("lasso").setAttribute("aria-pressed", on);
    noose.hidden = !on;
    if (on) fit();
  }
  function fit() { noose.width = canvas.clientWidth; noose.height = canvas.clientHeight; draw(); }
  by("lasso").addEventListener("click", () => lasso(!isDrawing));
  const place = event => { const at = noose.getBoundingClientRect(); return [event.clientX - at.left, event.clientY - at.top]; };
  noose.addEventListener("pointerdown", event => { way = [place(event)]; noose.setPointerCapture(event.pointerId); });
  noose.addEventListener("pointermove", event => { // a frame's moves come as one event
    if (!way.length) return;
    const moves = event.getCoalescedEvents?.() ?? [];
    way.push(...(moves.length ? moves : [event]).map(place));
    draw();
  });
  noose.addEventListener("pointercancel", () => { way = []; draw(); });
  noose.addEventListener("pointerup", () => {
    const found = way.length > 2 ? map.data.x.map((_, i) => i).filter(i => isInside(...map.onScreen(i))) : [];
    way = [];
    draw();
    lasso(false);
    if (!found.length) return;
    map.choose(found);
    list(found, "in the lasso");
    canvas.focus({ preventScroll: true });
  });
  function isInside(x, y) { // even-odd rule
    let inside = false;
    for (let a = 0, b = way.length - 1; a < way.length; b = a++) {
      const [ax, ay] = way[a], [bx, by] = way[b];
      if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) inside = !inside;
    }
    return inside;
  }
  function draw() {
    const pen = noose.getContext("2d"), style = getComputedStyle(document.documentElement);
    pen.clearRect(0, 0, noose.width, noose.height);
    if (!way.length) return;
    pen.beginPath();
    way.forEach(([x, y], i) => i ? pen.lineTo(x, y) : pen.moveTo(x, y));
    pen.closePath();
    pen.strokeStyle = pen.fillStyle = style.getPropertyValue("--dense").trim();
    pen.lineWidth = 1.5; pen.stroke();
    pen.globalAlpha = .12; pen.fill(); pen.globalAlpha = 1;
  }

  // What a lasso does, for the keyboard: the passages around the current one.
  canvas.addEventListener("keydown", event => {
    if (current < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter") location.assign(address(current));
    if (event.key.toLowerCase() !== "l") return;
    const { x, y } = map.data, far = i => Math.hypot(x[i] - x[current], y[i] - y[current]);
    const near = x.map((_, i) => i).sort((a, b) => far(a) - far(b)).slice(0, NEAR);
    map.choose(near);
    list(near, "around this one");
    by("chosen").focus();
  });
  new ResizeObserver(() => { if (isDrawing) fit(); }).observe(canvas);
})();

// Map of the features: hover, click, lasso and export.
"use strict";
(async () => {
  const canvas = document.getElementById("map"), pen = canvas.getContext("2d"), hover = document.getElementById("hover");
  const [num, save, clear, list] = ["num", "export", "clear", "chosen"].map((name) => document.getElementById(name));
  const points = await (await fetch("/api/v1/points")).json();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
  const isFinitePoint = (i) => Number.isFinite(points.x[i]) && Number.isFinite(points.y[i]);
  const indices = points.tile_ids.map((_, i) => i).filter(isFinitePoint);
  const [lowX, highX, lowY, highY] = [points.x, points.y].flatMap((values) => {
    let [low, high] = [Infinity, -Infinity];
    for (const i of indices) { low = Math.min(low, values[i]); high = Math.max(high, values[i]); }
    return [low, high];
  });
  const MARGIN = 24;
  const px = (i) => MARGIN + (points.x[i] - lowX) / (highX - lowX || 1) * (canvas.width - 2 * MARGIN);
  const py = (i) => canvas.height - MARGIN - (points.y[i] - lowY) / (highY - lowY || 1) * (canvas.height - 2 * MARGIN);
  const places = new Map(indices.map((i) => [i, [px(i), py(i)]]));
  const size = indices.length > 5000 ? 1.5 : 3.5;
  let loop = [], chosen = new Set(), near = -1;

  function draw() {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    for (const [i, [x, y]] of places) {
      pen.fillStyle = chosen.has(i) ? "#ff9d1e" : colour("--accent");
      pen.globalAlpha = chosen.size && !chosen.has(i) ? 0.35 : 0.75;
      pen.beginPath();
      pen.arc(x, y, i === near ? size + 4 : size, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    if (loop.length > 1) {
      pen.strokeStyle = colour("--ink");
      pen.setLineDash([6, 4]);
      pen.beginPath();
      loop.forEach(([x, y], n) => (n ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.stroke();
      pen.setLineDash([]);
    }
  }
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
  };
  function nearest([x, y], most = 20) {
    let best = -1, least = most;
    for (const [i, [a, b]] of places) { const d = Math.hypot(a - x, b - y); if (d < least) [best, least] = [i, d]; }
    return best;
  }
  function isInside([x, y]) {
    let inside = false;
    for (let i = 0, j = loop.length - 1; i < loop.length; j = i++) {
      const [[xi, yi], [xj, yj]] = [loop[i], loop[j]];
      if ((yi > y) !== (yj > y) && x < (xj - xi) * (y - yi) / (yj - yi) + xi) inside = !inside;
    }
    return inside;
  }
  const picture = (id) => `/api/v1/tiles/${id}/image.png`;
  async function point(i) {
    if (i === near) return;
    near = i;
    draw();
    hover.hidden = i < 0;
    if (i < 0) return;
    const id = points.tile_ids[i], [x, y] = places.get(i), [w, h] = [canvas.clientWidth / canvas.width, canvas.clientHeight / canvas.height];
    hover.querySelector("img").src = picture(id);
    hover.style.left = `${Math.min(x * w + 14, canvas.clientWidth - 140)}px`;
    hover.style.top = `${Math.max(0, Math.min(y * h - 60, canvas.clientHeight - 180))}px`;
    hover.querySelector("p").textContent = "…";
    const facts = await (await fetch(`/api/v1/tiles/${id}`)).json();
    if (near === i) hover.querySelector("p").textContent = [facts.target_name, facts.instrument, facts.filter].filter(Boolean).join(" · ");
  }
  function choose(found) {
    chosen = new Set(found);
    num.textContent = chosen.size.toLocaleString("en");
    num.nextSibling.textContent = chosen.size === 1 ? " tile chosen" : " tiles chosen";
    save.disabled = clear.disabled = !chosen.size;
    list.replaceChildren(...[...chosen].slice(0, 60).map((i) => {
      const item = document.createElement("li"), link = document.createElement("a"), image = document.createElement("img");
      item.className = "tile";
      link.href = `/tiles/${points.tile_ids[i]}`;
      link.className = "picture";
      image.src = picture(points.tile_ids[i]);
      image.alt = `Tile ${points.tile_ids[i].slice(0, 8)}`;
      image.loading = "lazy";
      link.append(image);
      item.append(link);
      return item;
    }));
    draw();
  }
  canvas.addEventListener("pointerdown", (event) => { loop = [at(event)]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) { loop.push(at(event)); draw(); } else point(nearest(at(event)));
  });
  canvas.addEventListener("pointerup", () => {
    const isLasso = loop.length > 4;
    if (isLasso) choose([...places].filter(([, place]) => isInside(place)).map(([i]) => i));
    else if (near >= 0) location.href = `/tiles/${points.tile_ids[near]}`;
    loop = [];
    draw();
  });
  canvas.addEventListener("pointerleave", () => point(-1));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) { point(indices[(indices.indexOf(near) + step + indices.length) % indices.length]); event.preventDefault(); }
    if (event.key === "Enter" && near >= 0) location.href = `/tiles/${points.tile_ids[near]}`;
  });
  clear.addEventListener("click", () => choose([]));
  save.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([["tile_id", ...[...chosen].map((i) => points.tile_ids[i])].join("\n") + "\n"], { type: "text/csv" }));
    link.download = "hubbleclip-tiles.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  canvas.dataset.ready = "true";
  draw();
})();

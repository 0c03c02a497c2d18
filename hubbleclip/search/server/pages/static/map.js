// Map of the features: colours, hover, click, lasso, keys and export.
"use strict";
(async () => {
  const canvas = document.getElementById("map"), pen = canvas.getContext("2d"), hover = document.getElementById("hover");
  const [num, shown, save, clear, list, colour, legend] = ["num", "shown", "export", "clear", "chosen", "colour", "legend"]
    .map((name) => document.getElementById(name));
  const answer = await fetch(`/api/v1/points${canvas.dataset.query}`), points = await answer.json(), ids = points.tile_ids;
  if (!answer.ok) {
    canvas.replaceWith(Object.assign(document.createElement("p"), { className: "fault", textContent: points.detail }));
    return;
  }
  const NUM_COLOURS = 7, MARGIN = 24, MAX_LISTED = 60; // the last colour is for all other values and for unknown ones
  const radius = ids.length > 5000 ? 1.5 : 3;
  const base = document.createElement("canvas"); // the points; the loop and the marked point are drawn over a copy of it
  let places = [], width = 0, height = 0, loop = [], chosen = new Set(), near = -1;

  function numberOf(i) { // number of a point's colour
    const number = points.labels[colour.value]?.numbers[i] ?? 0;
    return number < 0 || number > NUM_COLOURS ? NUM_COLOURS : number;
  }
  function resize() {
    const density = window.devicePixelRatio || 1;
    [width, height] = [canvas.clientWidth, canvas.clientHeight];
    [canvas.width, canvas.height] = [width * density, height * density];
    [base.width, base.height] = [canvas.width, canvas.height];
    [pen, base.getContext("2d")].forEach((one) => one.setTransform(density, 0, 0, density, 0, 0));
    const [spread, reach] = [points.x, points.y].map((values) => {
      const low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
      return (value) => (value - low) / (high - low || 1);
    });
    places = ids.map((_, i) => [
      MARGIN + spread(points.x[i]) * (width - 2 * MARGIN), height - MARGIN - reach(points.y[i]) * (height - 2 * MARGIN)]);
    paint();
  }
  function paint() {
    const brush = base.getContext("2d"), style = getComputedStyle(document.documentElement);
    brush.clearRect(0, 0, width, height);
    brush.fillStyle = style.getPropertyValue("--soft");
    brush.font = "12px system-ui, sans-serif";
    brush.fillText("first principal component →", MARGIN, height - 8);
    brush.save();
    brush.rotate(-Math.PI / 2);
    brush.fillText("second →", -height + MARGIN, 14);
    brush.restore();
    for (const isChosen of [false, true]) {
      brush.globalAlpha = isChosen || !chosen.size ? 0.85 : 0.18;
      for (let number = NUM_COLOURS; number >= 0; number--) {
        brush.fillStyle = style.getPropertyValue(`--c${number}`);
        brush.beginPath();
        for (const i of ids.keys()) {
          if (numberOf(i) !== number || chosen.has(i) !== isChosen) continue;
          const [x, y] = places[i];
          brush.moveTo(x + radius, y);
          brush.arc(x, y, radius, 0, 7);
        }
        brush.fill();
      }
    }
    brush.globalAlpha = 1;
    draw();
  }
  function draw() {
    pen.clearRect(0, 0, width, height);
    pen.drawImage(base, 0, 0, width, height);
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
    pen.beginPath();
    if (near >= 0) pen.arc(...places[near], radius + 4, 0, 7);
    loop.forEach(([x, y], n) => (n ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.setLineDash(loop.length ? [6, 4] : []);
    pen.stroke();
  }
  function listColours() {
    const { values, numbers } = points.labels[colour.value] ?? { values: ["tiles"], numbers: [] };
    const counts = new Array(NUM_COLOURS + 1).fill(0);
    for (const i of ids.keys()) counts[numberOf(i)]++;
    const rest = values.length > NUM_COLOURS + 1 || numbers.includes(-1) ? "other or unknown" : values[NUM_COLOURS];
    legend.replaceChildren(...counts.flatMap((count, number) => {
      if (!count) return [];
      const item = document.createElement("li"), button = document.createElement("button"), swatch = document.createElement("span");
      button.type = "button";
      swatch.className = `swatch c${number}`;
      button.append(swatch, ` ${number < NUM_COLOURS ? values[number] : rest} `, Object.assign(document.createElement("small"), { textContent: count.toLocaleString("en") }));
      button.addEventListener("click", () => choose([...ids.keys()].filter((i) => numberOf(i) === number)));
      item.append(button);
      return [item];
    }));
  }
  function at(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }
  function nearest([x, y], most = 16) {
    let best = -1, least = most;
    places.forEach(([a, b], i) => { const d = Math.hypot(a - x, b - y); if (d < least) [best, least] = [i, d]; });
    return best;
  }
  function beside(from, [dx, dy]) { // the nearest point in a direction, within 45 degrees of it
    let best = from, least = Infinity;
    places.forEach(([a, b], i) => {
      const x = a - places[from][0], y = b - places[from][1], along = x * dx + y * dy, across = Math.abs(x * dy - y * dx);
      if (along > 0 && across <= along && Math.hypot(x, y) < least) [best, least] = [i, Math.hypot(x, y)];
    });
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
  const picture = (i) => `/api/v1/tiles/${ids[i]}/image.png`;
  const open = (i) => { if (i >= 0) location.href = `/tiles/${ids[i]}`; };
  async function point(i) {
    if (i === near) return;
    near = i;
    draw();
    hover.hidden = i < 0;
    if (i < 0) return;
    const [x, y] = places[i], image = hover.querySelector("img"), text = hover.querySelector("p");
    image.src = picture(i);
    hover.style.left = `${x + 150 > width ? Math.max(x - 148, 0) : x + 14}px`;
    hover.style.top = `${Math.max(0, Math.min(y - 60, height - 190))}px`;
    text.textContent = "…";
    const facts = await (await fetch(`/api/v1/tiles/${ids[i]}`)).json();
    if (near === i) text.textContent = [facts.target_name, facts.instrument, facts.filter, facts.category].filter(Boolean).join(" · ");
  }
  function choose(found) {
    chosen = new Set(found);
    num.textContent = chosen.size.toLocaleString("en");
    num.nextSibling.textContent = chosen.size === 1 ? " tile chosen" : " tiles chosen";
    shown.textContent = chosen.size > MAX_LISTED ? `, the first ${MAX_LISTED} are shown` : "";
    save.disabled = clear.disabled = !chosen.size;
    list.replaceChildren(...[...chosen].slice(0, MAX_LISTED).map((i) => {
      const item = document.createElement("li"), link = document.createElement("a"), image = document.createElement("img");
      item.className = "tile";
      link.href = `/tiles/${ids[i]}`;
      link.className = "picture";
      Object.assign(image, { alt: `Tile ${ids[i].slice(0, 8)}`, loading: "lazy", width: 112, height: 112, src: picture(i) });
      link.append(image);
      item.append(link);
      return item;
    }));
    paint();
  }
  canvas.addEventListener("pointerdown", (event) => { loop = [at(event)]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) { loop.push(at(event)); draw(); } else point(nearest(at(event)));
  });
  canvas.addEventListener("pointerup", (event) => {
    const found = loop.length > 4 ? places.flatMap((place, i) => (isInside(place) ? [i] : [])) : null;
    loop = [];
    if (found) { choose(found); return; }
    draw();
    const i = nearest(at(event));
    if (event.pointerType === "touch" && i !== near) point(i); else open(i); // the first tap shows a tile, the next opens it
  });
  canvas.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") point(-1); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (step && ids.length) point(near < 0 ? 0 : beside(near, step));
    if (event.key === " " && near >= 0) {
      if (!chosen.delete(near)) chosen.add(near);
      choose(chosen);
    }
    if (step || event.key === " ") event.preventDefault();
    if (event.key === "Enter") open(near);
  });
  clear.addEventListener("click", () => choose([]));
  save.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([["tile_id", ...[...chosen].map((i) => ids[i])].join("\n") + "\n"], { type: "text/csv" }));
    link.download = "hubbleclip-tiles.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  colour.addEventListener("change", () => {
    const query = new URLSearchParams(location.search);
    query.set("colour", colour.value);
    history.replaceState(null, "", `?${query}`);
    listColours();
    paint();
  });
  const asked = new URLSearchParams(location.search).get("colour");
  if ([...colour.options].some((option) => option.value === asked)) colour.value = asked;
  window.addEventListener("resize", resize);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  listColours();
  resize();
  if (canvas.dataset.hits) {
    const found = new Set((await (await fetch(canvas.dataset.hits)).json()).hits.map((hit) => hit.tile_id));
    choose([...ids.keys()].filter((i) => found.has(ids[i])));
  }
  canvas.dataset.ready = "true";
})();

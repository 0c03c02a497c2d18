// Page of a tile: zoom, move, invert, stretch, and the position under the cursor.
"use strict";
(() => {
  const frame = document.getElementById("frame"), picture = document.getElementById("picture"), overlay = document.getElementById("overlay");
  const cursor = document.getElementById("cursor"), bar = document.getElementById("bar");
  const [stretch, black, white] = ["stretch", "black", "white"].map((name) => document.getElementById(name));
  const CURVES = { linear: (v) => v, sqrt: Math.sqrt, log: (v) => Math.log1p(1000 * v) / Math.log1p(1000), squared: (v) => v * v };
  const own = picture.getAttribute("src"), hint = cursor.textContent; // positions are those of the tile's own picture
  const invert = document.querySelector("[data-do=invert]");
  const grid = frame.dataset.grid && JSON.parse(frame.dataset.grid).map(([ra, dec]) => {
    const [a, d] = [ra, dec].map((angle) => angle * Math.PI / 180);
    return [Math.cos(d) * Math.cos(a), Math.cos(d) * Math.sin(a), Math.sin(d)];
  });
  const side = grid ? Math.round(Math.sqrt(grid.length)) : 0;
  const views = [...document.querySelectorAll("[data-picture]")], box = document.getElementById("part");
  const press = (name, is) => document.querySelector(`[data-do=${name}]`).setAttribute("aria-pressed", String(is));
  let blinking = 0, isPicking = false, corner = null; // corner: where a part of the picture begins
  let zoom = 1, left = 0, top = 0; // the visible part begins at (left, top), in sides of the picture

  function show() {
    const most = 1 - 1 / zoom;
    left = Math.min(Math.max(left, 0), most);
    top = Math.min(Math.max(top, 0), most);
    picture.style.transform = overlay.style.transform = `scale(${zoom}) translate(${-100 * left}%, ${-100 * top}%)`;
    frame.classList.toggle("near", zoom > 2);
    const isInverted = invert.getAttribute("aria-pressed") === "true";
    picture.style.filter = `url("#levels")${isInverted ? " invert(1)" : ""}`;
    if (bar) {
      let share = bar.dataset.share * zoom, label = bar.firstElementChild.dataset.label || bar.textContent;
      bar.firstElementChild.dataset.label = label;
      // At high zoom the bar would not fit: it shows a tenth.
      while (share > 0.6) { share /= 10; label = tenth(label); }
      bar.style.width = `${100 * share}%`;
      bar.firstElementChild.textContent = label;
    }
  }
  function level() { // the grey levels from black to white through the curve
    const low = +black.value, span = Math.max(white.value - low, 0.01);
    const table = Array.from({ length: 256 }, (_, i) => CURVES[stretch.value](Math.min(Math.max((i / 255 - low) / span, 0), 1)).toFixed(4));
    for (const channel of document.querySelectorAll("#levels [tableValues]")) channel.setAttribute("tableValues", table.join(" "));
  }
  function tenth(label) {
    const length = parseFloat(label) / 10;
    return label.endsWith("′") && length < 1 ? `${+(length * 60).toPrecision(3)}″` : `${+length.toPrecision(3)}${label.slice(-1)}`;
  }
  function zoomBy(factor, x = 0.5, y = 0.5) {
    const before = zoom;
    zoom = Math.min(Math.max(zoom * factor, 1), 16);
    left += x / before - x / zoom;
    top += y / before - y / zoom;
    show();
  }
  function position(x, y) { // x, y in [0, 1] from the top left corner of the picture
    const u = Math.min(x * (side - 1), side - 1.000001), v = Math.min(y * (side - 1), side - 1.000001);
    const i = Math.floor(u), j = Math.floor(v), a = u - i, b = v - j;
    const corner = (di, dj) => grid[(j + dj) * side + i + di];
    const [X, Y, Z] = [0, 1, 2].map((k) => (1 - a) * (1 - b) * corner(0, 0)[k] + a * (1 - b) * corner(1, 0)[k]
      + (1 - a) * b * corner(0, 1)[k] + a * b * corner(1, 1)[k]);
    return [(Math.atan2(Y, X) * 180 / Math.PI + 360) % 360, Math.atan2(Z, Math.hypot(X, Y)) * 180 / Math.PI];
  }
  function sexagesimal(value, digits) {
    const unit = 10 ** digits, total = Math.round(Math.abs(value) * 3600 * unit);
    const [whole, rest] = [Math.floor(total / (3600 * unit)), total % (3600 * unit)];
    const seconds = ((rest % (60 * unit)) / unit).toFixed(digits).padStart(digits + 3, "0");
    return `${String(whole).padStart(2, "0")} ${String(Math.floor(rest / (60 * unit))).padStart(2, "0")} ${seconds}`;
  }
  function tell(event) {
    if (!grid || frame.classList.contains("other")) return;
    const box = frame.getBoundingClientRect();
    const x = left + (event.clientX - box.left) / box.width / zoom, y = top + (event.clientY - box.top) / box.height / zoom;
    if (x < 0 || y < 0 || x > 1 || y > 1) return;
    const [ra, dec] = position(x, y);
    cursor.textContent = `RA ${sexagesimal(ra / 15, 2)}  Dec ${dec < 0 ? "−" : "+"}${sexagesimal(dec, 1)}   (${ra.toFixed(6)}, ${dec.toFixed(6)})`;
    cursor.dataset.ra = ra;
    cursor.dataset.dec = dec;
  }
  function view(number) { // the picture in another filter
    picture.src = views[number].dataset.picture;
    const isOther = frame.classList.toggle("other", views[number].dataset.picture !== own);
    cursor.textContent = isOther ? "Another tile: its own page has its positions" : hint;
    views.forEach((one, i) => one.setAttribute("aria-pressed", String(i === number)));
  }
  function within(event) { // from the top left corner of the picture, in sides of it
    const { left: x, top: y, width } = frame.getBoundingClientRect();
    return [left + (event.clientX - x) / width / zoom, top + (event.clientY - y) / width / zoom].map((a) => Math.min(Math.max(a, 0), 1));
  }
  function part(event) { // corner and side of the square from where the drag began
    const [x, y] = within(event), size = Math.max(Math.abs(x - corner[0]), Math.abs(y - corner[1]));
    return [x < corner[0] ? corner[0] - size : corner[0], y < corner[1] ? corner[1] - size : corner[1], size];
  }
  function drawPart([x, y, size]) {
    box.hidden = false;
    [box.style.left, box.style.top, box.style.width, box.style.height] = [x - left, y - top, size, size].map((a) => `${100 * a * zoom}%`);
  }
  function searchPart([x, y, size]) {
    const canvas = document.createElement("canvas"), side = picture.naturalWidth;
    canvas.width = canvas.height = Math.max(Math.round(size * side), 1);
    canvas.getContext("2d").drawImage(picture, -x * side, -y * side);
    canvas.toBlob((blob) => {
      const files = new DataTransfer();
      files.items.add(new File([blob], "part.png", { type: "image/png" }));
      upload(files.files);
    });
  }
  const acts = {
    part: () => { isPicking = !isPicking; press("part", isPicking); box.hidden = true; },
    blink: () => {
      clearInterval(blinking);
      const next = () => view((views.findIndex((one) => one.getAttribute("aria-pressed") === "true") + 1) % views.length);
      blinking = blinking ? 0 : setInterval(next, 700);
      press("blink", blinking > 0);
    },
    in: () => zoomBy(1.5), out: () => zoomBy(1 / 1.5),
    reset: () => {
      zoom = 1;
      [stretch.value, black.value, white.value] = ["linear", 0, 1];
      invert.setAttribute("aria-pressed", "false");
      level();
      show();
    },
    invert: () => { invert.setAttribute("aria-pressed", String(invert.getAttribute("aria-pressed") !== "true")); show(); },
    uncover: () => { overlay.replaceChildren(); document.getElementById("occlusion").replaceChildren(); },
  };
  const keys = { "+": "in", "=": "in", "-": "out", "0": "reset", i: "invert" };
  document.addEventListener("click", (event) => {
    acts[event.target.dataset.do]?.();
    if (event.target.dataset.picture) view(views.indexOf(event.target));
  });
  stretch.addEventListener("change", level);
  [black, white].forEach((one) => one.addEventListener("input", level));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
    if (keys[event.key]) acts[keys[event.key]]();
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move && event.target === frame && zoom > 1) {
      left += 0.1 * move[0] / zoom;
      top += 0.1 * move[1] / zoom;
      show();
      event.preventDefault();
    }
  });
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && zoom === 1 && event.deltaY > 0) return; // the page scrolls on
    event.preventDefault();
    const box = frame.getBoundingClientRect();
    zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }, { passive: false });
  frame.addEventListener("pointermove", (event) => {
    if (event.buttons && corner) drawPart(part(event));
    else if (event.buttons) {
      const box = frame.getBoundingClientRect();
      left -= event.movementX / box.width / zoom;
      top -= event.movementY / box.height / zoom;
      show();
    }
    tell(event);
  });
  frame.addEventListener("pointerdown", (event) => {
    frame.setPointerCapture(event.pointerId);
    corner = isPicking ? within(event) : null;
  });
  frame.addEventListener("pointerup", (event) => {
    if (corner && part(event)[2] > 0.05) searchPart(part(event));
    corner = null;
  });
  show();
})();

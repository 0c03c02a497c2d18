// Sky map: drag a cone from its centre to its edge.
"use strict";
(() => {
  const map = document.getElementById("sky"), cone = document.getElementById("cone");
  const place = document.getElementById("place"), radius = document.getElementById("radius");
  const SCALE = 100;
  let start = null, isDrawn = false;

  function at(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
    return [point.x, point.y];
  }
  function sky([px, py]) { // inverse of Hammer's projection, in degrees
    const x = -px / SCALE, y = -py / SCALE, z = Math.sqrt(1 - (x / 4) ** 2 - (y / 2) ** 2);
    if (!(z >= Math.SQRT1_2)) return null; // outside the ellipse
    const ra = 2 * Math.atan2(z * x, 2 * (2 * z * z - 1)), dec = Math.asin(z * y);
    return [(ra * 180 / Math.PI + 360) % 360, dec * 180 / Math.PI];
  }
  function separation([ra1, dec1], [ra2, dec2]) {
    const [a, b, c, d] = [ra1, dec1, ra2, dec2].map((angle) => angle * Math.PI / 180);
    const h = Math.sin((d - b) / 2) ** 2 + Math.cos(b) * Math.cos(d) * Math.sin((c - a) / 2) ** 2;
    return 2 * Math.asin(Math.min(1, Math.sqrt(h))) * 180 / Math.PI;
  }
  map.addEventListener("pointerdown", (event) => { start = at(event); isDrawn = false; });
  map.addEventListener("pointermove", (event) => {
    if (!start) return;
    const now = at(event), length = Math.hypot(now[0] - start[0], now[1] - start[1]);
    if (length < 3) return;
    if (!isDrawn) { map.setPointerCapture(event.pointerId); isDrawn = true; }
    const [centre, edge] = [sky(start), sky(now)];
    if (!centre || !edge) return;
    cone.setAttribute("cx", start[0]);
    cone.setAttribute("cy", start[1]);
    cone.setAttribute("r", length);
    place.value = `${centre[0].toFixed(4)} ${centre[1].toFixed(4)}`;
    radius.value = (separation(centre, edge) * 60).toFixed(1);
  });
  map.addEventListener("pointerup", () => { start = null; });
  map.addEventListener("click", (event) => { if (isDrawn) { event.preventDefault(); event.stopPropagation(); isDrawn = false; } }, true);
  map.addEventListener("dragstart", (event) => event.preventDefault());
})();

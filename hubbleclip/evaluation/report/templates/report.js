if (matchMedia("(max-width: 760px)").matches) {  // a phone shows the titles of the sections, each of which opens
  for (const title of document.querySelectorAll("h2")) {
    const section = document.createElement("details"), summary = document.createElement("summary");
    title.before(section);
    section.append(summary);
    summary.append(title);
    while (section.nextElementSibling && section.nextElementSibling.tagName !== "H2") section.append(section.nextElementSibling);
  }
  for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => {
    document.querySelector(link.hash).closest("details").open = true;
  });
}
const box = document.querySelector(".map .hover");
for (const point of document.querySelectorAll(".map circle")) {
  const show = () => {
    box.querySelector("img").src = point.dataset.picture;
    box.querySelector("span").textContent = point.dataset.text;
    const frame = box.parentElement.getBoundingClientRect(), at = point.getBoundingClientRect();
    box.style.left = Math.min(at.left - frame.left + 14, frame.width - 120) + "px";
    box.style.top = at.top - frame.top + 14 + "px";
    box.hidden = false;
  };
  point.addEventListener("mouseenter", show);
  point.addEventListener("click", show);  // on a screen that is touched
  point.addEventListener("mouseleave", () => { box.hidden = true; });
}

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

// Search page: choices that submit at once, uploads, the key "/" and arrow keys between tiles.
"use strict";
document.addEventListener("change", (event) => {
  const field = event.target;
  if (field.matches("[data-submits]")) field.form.requestSubmit();
  if (field.matches("[data-uploads]") && field.files.length) field.form.submit();
});
function upload(files) {
  const field = document.getElementById("file");
  if (!field || !files?.length) return false;
  field.files = files;
  field.form.submit();
  return true;
}
for (const type of ["dragover", "drop"]) {
  document.addEventListener(type, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    if (type === "drop") upload(event.dataTransfer.files);
  });
}
document.addEventListener("paste", (event) => { // office programs add a picture of the text that is pasted
  const { types, files } = event.clipboardData;
  if (!types.includes("text/plain") && upload(files)) event.preventDefault();
});
// The page says what was understood, also in the fields that a person has changed.
document.addEventListener("htmx:after:swap", () => document.getElementById("search")?.reset());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.matches("input, select, textarea");
  if (event.key === "/" && !isTyping) {
    const field = document.getElementById("q");
    if (field) { field.focus(); field.select(); event.preventDefault(); }
  }
  const here = event.target.closest && event.target.closest(".tile .picture");
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: "down", ArrowUp: "up" }[event.key];
  if (!here || !step) return;
  const all = [...document.querySelectorAll(".tile .picture")];
  const top = all[0].getBoundingClientRect().top;
  const perRow = all.filter((one) => Math.abs(one.getBoundingClientRect().top - top) < 2).length;
  const by = step === "down" ? perRow : step === "up" ? -perRow : step;
  const next = all[all.indexOf(here) + by];
  if (next) { next.focus(); event.preventDefault(); }
});
// The filters take the whole screen of a telephone, so they begin closed there.
if (window.matchMedia("(max-width: 900px)").matches) {
  document.addEventListener("DOMContentLoaded", () => document.querySelector("details.filters")?.removeAttribute("open"));
}
document.addEventListener("click", (event) => { if (event.target.matches("[data-picks]")) document.getElementById("file").click(); });

// The numbers behind a mark: shown where the pointer is nearest, or where the arrow keys have come to.
const tip = Dom.make("div", { id: "tip", role: "status", hidden: "" });
document.body.append(tip);
let near = null;

function show(mark) {
  if (mark === near) return;
  if (near) near.classList.remove("near");
  near = mark;
  tip.hidden = !mark;
  if (!mark) return;
  mark.classList.add("near");
  tip.textContent = "";
  Dom.visible(mark.dataset.tip, tip);
  const [x, y] = place(mark);
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(Math.max(8, x - box.width / 2), document.documentElement.clientWidth - box.width - 8)}px`;
  tip.style.top = `${y - box.height - 14 > 4 ? y - box.height - 14 : y + 16}px`;
}

// Where a mark stands in the window.
function place(mark) {
  const at = new DOMPoint(+mark.dataset.x, +mark.dataset.y).matrixTransform(mark.ownerSVGElement.getScreenCTM());
  return [at.x, at.y];
}

for (const svg of document.querySelectorAll(".chart svg")) {
  const marks = [...svg.querySelectorAll(".told")];
  if (!marks.length) continue;
  svg.tabIndex = 0;
  const nearest = event => {
    if (event.target.closest && event.target.closest(".told")) return show(event.target.closest(".told"));
    let best = null, least = 32;
    for (const mark of marks) {
      const [x, y] = place(mark), away = Math.hypot(x - event.clientX, y - event.clientY);
      if (away < least) [best, least] = [mark, away];
    }
    show(best);
  };
  svg.addEventListener("pointermove", nearest);
  svg.addEventListener("pointerdown", nearest);
  svg.addEventListener("pointerleave", () => show(null));
  svg.addEventListener("blur", () => show(null));
  svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) show(marks[0]); });
  svg.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") return show(null);
    if (!step) return;
    event.preventDefault();
    show(marks[(marks.indexOf(near) + step + marks.length) % marks.length]);
  });
}
document.addEventListener("scroll", () => show(null), { passive: true });

// Paper cannot be clicked: what matters is opened before printing.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.printed:not([open])")];
  for (const each of opened) each.open = true;
});
addEventListener("afterprint", () => { for (const each of opened) each.open = false; });

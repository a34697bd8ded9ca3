"use strict";

// tables: a click on a heading's button sorts; numbers as numbers, what has no key last
function byKey(column, sign) {
  return (a, b) => {
    const [x, y] = [a, b].map(row => row.cells[column].dataset.key);
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    const [m, n] = [Number(x), Number(y)];
    return sign * (Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y, undefined, {numeric: true}) : m === n ? 0 : m - n);
  };
}
for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    body.append(...[...body.rows].sort(byKey(head.cellIndex, falling ? -1 : 1)));
  });
}

// groups of runs: one is shown, the select says which
function choose(section, select, then) {
  const groups = [...document.querySelectorAll(`#${section} .group`)], box = document.getElementById(select);
  const show = () => {
    const chosen = box ? Number(box.value) : 0;
    groups.forEach((group, k) => { group.hidden = k !== chosen; });
    if (then) then(groups[chosen], chosen);
  };
  if (box) box.addEventListener("change", show);
  show();
}

// objects: strips of sides, moved under windows of one side, all together; a figure that moves can be closed
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
if (still) for (const figure of document.querySelectorAll(".moving")) figure.open = false;
const turn = document.getElementById("turn");
if (turn) {
  const section = document.getElementById("grid-section"), controls = section.querySelectorAll(".turn");
  const side = document.getElementById("turn-side"), said = document.getElementById("turn-said");
  let sides, degrees;
  const look = () => {
    const angle = Math.round(Number(side.value) * degrees);
    section.style.setProperty("--view", side.value);
    said.textContent = `${angle}°`;
    side.setAttribute("aria-valuetext", `${angle} degrees`);
  };
  const step = () => {
    if (turn.checked) {
      side.value = (Number(side.value) + 1) % sides;
      look();
    }
    setTimeout(step, 3600 / sides);
  };
  side.addEventListener("input", () => { turn.checked = false; look(); });
  choose("grid-section", "grid-group", group => {
    sides = Number(group.dataset.sides ?? 1);
    degrees = Number(group.dataset.degrees ?? 360);
    side.max = sides - 1;
    for (const control of controls) control.hidden = sides === 1;
    look();
  });
  turn.checked = !still;
  step();
} else choose("grid-section", "grid-group");

// films: strips of states beside each other, moved under a window of one state
const filmData = document.getElementById("film-data");
if (filmData) {
  const films = JSON.parse(filmData.textContent), item = document.getElementById("film-item");
  const share = document.getElementById("film-share"), said = document.getElementById("film-said");
  let group, film;
  const move = () => {
    const u = Number(share.value) / 100, i = Number(item.value);
    said.textContent = `${share.value} %`;
    share.setAttribute("aria-valuetext", `${share.value} % of the way`);
    group.querySelectorAll("figure").forEach((figure, r) => {
      const run = film.runs[r], n = run.index.length, k = Math.round(u * (n - 1)), std = run.std[i][k];
      for (const img of figure.querySelectorAll("img")) {
        img.style.setProperty("--frames", n);
        img.style.transform = `translateX(${-100 * k / n}%)`;
      }
      const noise = std === null ? "no κ added" : `κ std ${std}`;
      figure.querySelector(".state").textContent = `state ${run.index[k]} of ${run.last} · σ ${run.sigma[i][k]} · ${noise}`;
    });
  };
  const load = () => {
    group.querySelectorAll("figure").forEach((figure, r) => {
      for (const img of figure.querySelectorAll("img")) {
        const uri = film.runs[r][img.dataset.kind][Number(item.value)];
        img.closest(".pair > div").hidden = !uri;
        if (uri) img.src = uri;
      }
    });
    move();
  };
  item.addEventListener("change", load);
  share.addEventListener("input", move);
  choose("film-section", "film-group", (chosen, k) => {
    group = chosen;
    film = films[k];
    const kept = Number(item.value) < film.items.length ? item.value : "0";
    item.replaceChildren(...film.items.map((name, i) => new Option(name, i)));
    item.value = kept;
    load();
  });
}

// a link to a run opens it
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
window.addEventListener("hashchange", open);
open();

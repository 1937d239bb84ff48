// Nothing here is needed to read the report: it sorts tables, makes tabs, hides series, and switches the theme.
"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, text, more = {}) => Object.assign(document.createElement(tag), { textContent: text, ...more });

function theme() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; show(); });
  system.addEventListener("change", show);
  show();
}

function keys() {
  const button = document.getElementById("keys");
  button.hidden = false;
  button.addEventListener("click", () => {
    const hidden = document.body.classList.toggle("hide-keys");
    button.setAttribute("aria-pressed", String(!hidden));
  });
}

// A cell's number where it has one, else its text; what was not measured comes last in either direction.
function sortable(table) {
  const body = table.tBodies[0], heads = all("thead th", table);
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent.trim();
  };
  const compare = (a, b, sign) => {
    const missing = (x) => x === "–" || x === "";
    if (missing(a) || missing(b)) return Number(missing(a)) - Number(missing(b));
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  };
  heads.forEach((head, column) => {
    const button = make("button", head.textContent, { type: "button" });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...body.rows], single = rows.filter((row) => !row.classList.contains("sum"));
      single.sort((a, b) => compare(value(a, column), value(b, column), sign));
      body.append(...single, ...rows.filter((row) => row.classList.contains("sum")));
    });
  });
}

function tabs(box, number) {
  const parts = all(":scope > .tab", box), bar = make("div", "", { className: "bar" });
  if (parts.length < 2) return;
  bar.setAttribute("role", "tablist");
  bar.setAttribute("aria-label", box.dataset.name);
  const buttons = parts.map((part, place) => {
    const button = make("button", part.querySelector("h4").textContent, { type: "button", id: `tab-${number}-${place}` });
    part.id = `part-${number}-${place}`;
    part.setAttribute("role", "tabpanel");
    part.setAttribute("aria-labelledby", button.id);
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", part.id);
    return button;
  });
  const choose = (place, focus) => buttons.forEach((button, other) => {
    button.setAttribute("aria-selected", String(other === place));
    button.tabIndex = other === place ? 0 : -1;
    parts[other].hidden = other !== place;
    if (other === place && focus) button.focus();
  });
  buttons.forEach((button, place) => {
    button.addEventListener("click", () => choose(place, false));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) choose((place + step + buttons.length) % buttons.length, true);
    });
  });
  bar.append(...buttons);
  box.prepend(bar);
  box.classList.add("ready");
  choose(0, false);
}

function legends(figure) {
  all("[data-toggle]", figure).forEach((item) => {
    const button = make("button", "", { type: "button" });
    button.append(...item.childNodes);
    button.setAttribute("aria-pressed", "true");
    item.append(button);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      all(`[data-series="${item.dataset.toggle}"]`, figure).forEach((mark) => mark.classList.toggle("off", !shown));
    });
  });
}

function contents() {
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(entry.target.id).setAttribute("aria-current", "true");
  }), { rootMargin: "-20% 0px -70% 0px" });
  links.forEach((_, id) => seen.observe(document.getElementById(id)));
}

theme();
keys();
all("main table").forEach(sortable);
all(".tabs").forEach(tabs);
all("figure").forEach(legends);
contents();

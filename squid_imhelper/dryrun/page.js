"use strict";
// Without this script the tables are simply there; with it they can be sorted, and the cases searched.
const compare = new Intl.Collator("en", { numeric: true }).compare;

function sortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const isNumber = head.classList.contains("n");
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const downwards = before ? before === "ascending" : isNumber;
      const value = (row) => row.cells[column].textContent;
      const key = isNumber ? (row) => Number(value(row).replaceAll(",", "")) : value;
      const order = isNumber ? (a, b) => a - b : compare;
      const keyed = [...body.rows].map((row) => [key(row), row]);
      keyed.sort((a, b) => (downwards ? order(b[0], a[0]) : order(a[0], b[0])));
      body.append(...keyed.map((pair) => pair[1]));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", downwards ? "descending" : "ascending");
      table.dispatchEvent(new Event("sorted"));
    });
  });
}

function makeTools(table) {
  const tools = document.createElement("div");
  tools.className = "tools";
  tools.innerHTML =
    '<label>Search<input type="search" autocomplete="off" spellcheck="false"></label>' +
    '<label>Outcome<select autocomplete="off"><option value="">all</option></select></label>' +
    '<output></output><button type="button">Show all</button>';
  const outcomes = new Set([...table.tBodies[0].rows].map((row) => row.cells[0].textContent));
  tools.querySelector("select").append(...[...outcomes].sort().map((name) => new Option(name)));
  table.parentNode.before(tools);
  return ["input", "select", "output", "button"].map((name) => tools.querySelector(name));
}

function searchable(table) {
  const [text, outcome, told, more] = makeTools(table);
  const texts = new Map();
  let limit = 300; // more rows at once take a slow machine too long to lay out
  let waiting = false;

  function read(row) {
    const cells = [...row.cells].map((cell) => cell.textContent);
    texts.set(row, { outcome: cells[0], text: cells.join("\n").toLowerCase() });
  }

  function filter() {
    waiting = false;
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const row of table.tBodies[0].rows) {
      const each = texts.get(row);
      const fits = (!outcome.value || each.outcome === outcome.value) && words.every((word) => each.text.includes(word));
      found += fits;
      row.hidden = !fits || found > limit;
    }
    const total = texts.size.toLocaleString("en");
    told.value = `${found.toLocaleString("en")} of ${total}` + (found > limit ? `, the first ${limit} shown` : "");
    more.hidden = found <= limit;
  }

  function filterSoon() {
    if (!waiting) requestAnimationFrame(filter);
    waiting = true;
  }

  text.addEventListener("input", filterSoon);
  outcome.addEventListener("change", filterSoon);
  table.addEventListener("sorted", filter);
  more.addEventListener("click", () => {
    limit = Infinity;
    filter();
  });
  [...table.tBodies[0].rows].forEach(read);
  filter();
}

for (const table of document.querySelectorAll("#cases table")) {
  sortable(table);
  searchable(table);
}

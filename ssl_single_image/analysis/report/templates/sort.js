"use strict";
// Tables of class "sortable" are sorted by a click on the head of a column: descending, ascending, as they were.
// Rows of all groups are sorted together; headings of groups are hidden meanwhile.
(function () {
  function value(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.sort !== undefined ? cell.dataset.sort : cell.textContent.trim();
    const number = Number(text.replace(/,/g, ""));
    return text === "" ? null : Number.isNaN(number) ? text : number;
  }
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }
  function sort(table, column, way) {
    const original = table.original;
    for (const [row, body] of original) body.appendChild(row);
    for (const [row] of original) if (row.classList.contains("group")) row.hidden = way !== 0;
    if (way === 0) return;
    const rows = original.map(([row]) => row).filter((row) => !row.classList.contains("group"));
    const known = rows.filter((row) => value(row, column) !== null);
    const empty = rows.filter((row) => value(row, column) === null);
    known.sort((a, b) => way * compare(value(a, column), value(b, column)));
    for (const row of known.concat(empty)) table.tBodies[0].appendChild(row);
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    table.original = [];
    for (const body of table.tBodies) for (const row of body.rows) table.original.push([row, body]);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const order = head.getAttribute("aria-sort");
        const first = typeof value(table.original[table.original.length - 1][0], column) === "number" ? -1 : 1;
        const now = order === null ? 0 : order === "descending" ? -1 : 1;
        const next = now === 0 ? first : now === first ? -first : 0;
        for (const other of heads) other.removeAttribute("aria-sort");
        if (next !== 0) head.setAttribute("aria-sort", next < 0 ? "descending" : "ascending");
        sort(table, column, next);
      });
    });
  }
  // On paper nothing is folded away.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = Array.from(document.querySelectorAll("details:not([open])"));
    for (const details of folded) details.open = true;
  });
  window.addEventListener("afterprint", () => { for (const details of folded) details.open = false; });
})();

"use strict";
// Buttons in the heads of tables sort by that column; empty cells stay last.
{
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  const compare = (kind, sign) => (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (kind === "number" ? Number(a) - Number(b) : collator.compare(a, b));
  };

  function sort(head) {
    const table = head.closest("table");
    const column = [...head.parentNode.children].indexOf(head);
    const order = head.getAttribute("aria-sort");
    const reversed = order === "ascending" ? "descending" : "ascending";
    const newOrder = order === "none" ? head.dataset.first : reversed;
    for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", newOrder);
    const key = (row) => row.children[column].getAttribute("data-v");
    const by = compare(head.dataset.kind, newOrder === "ascending" ? 1 : -1);
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => by(key(a), key(b))));
  }

  for (const head of document.querySelectorAll(".sortable thead th")) {
    head.querySelector("button").addEventListener("click", () => sort(head));
  }
}

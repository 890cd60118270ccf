"use strict";

// Only buttons that stay on this page: Plotly's own list has one that sends the figure away.
const config = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};
const figures = JSON.parse(document.getElementById("figures").textContent);
for (const place of document.querySelectorAll("[data-figure]")) {
  const figure = figures[Number(place.dataset.figure)];
  Plotly.newPlot(place, figure.data, figure.layout, config);
}

// Numbers go before text, and gaps last in either direction.
function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const [x, y] = [Number(a), Number(b)];
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return sign * (Number.isNaN(x) ? a.localeCompare(b) : x - y);
}

function sort(table, heading) {
  const column = heading.cellIndex;
  const sign = heading.ariaSort === "ascending" ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
  heading.ariaSort = sign === 1 ? "ascending" : "descending";
  const rows = [...table.tBodies[0].rows].map((row) => {
    const cell = row.cells[column];
    return [cell.dataset.value ?? cell.textContent.trim(), row];
  });
  rows.sort(([a], [b]) => compare(a, b, sign));
  for (const [, row] of rows) table.tBodies[0].append(row);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.tHead.rows[0].cells) {
    heading.querySelector("button").addEventListener("click", () => sort(table, heading));
  }
}

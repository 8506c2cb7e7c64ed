// A click on a header sorts the table's rows by that column, a second one the other way.
for (const header of document.querySelectorAll("table.sortable th")) {
  header.tabIndex = 0;
  const sort = () => {
    const body = header.closest("table").tBodies[0];
    const column = header.cellIndex;
    const down = header.getAttribute("aria-sort") === "ascending";
    const value = (row) => row.cells[column].dataset.value;
    const text = (row) => row.cells[column].textContent.trim();
    const order = (a, b) =>
      value(a) - value(b) || text(a).localeCompare(text(b), undefined, { numeric: true });
    const rows = [...body.rows].sort(order);
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...(down ? rows.reverse() : rows));
  };
  header.addEventListener("click", sort);
  header.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
}

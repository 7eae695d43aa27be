/** The leaderboard: sorted by a heading, filtered by name and kind; a model opens its section. */
(() => {
  const table = byId("board"), body = table.tBodies[0], lines = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const search = byId("board-search"), kinds = [...document.querySelectorAll(".kind")];

  function sort(head, direction) {
    const at = heads.indexOf(head), numeric = head.dataset.type === "number";
    const value = (line) => {
      const found = line.cells[at]?.dataset.value ?? "";
      return numeric ? (found === "" ? null : Number(found)) : found;
    };
    const sign = direction === "ascending" ? 1 : -1;
    lines.sort((a, b) => {
      const x = value(a), y = value(b);
      // what has no value stands last, whichever way
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (numeric ? x - y : x.localeCompare(y));
    });
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    body.append(...lines);
  }

  for (const head of heads.filter((each) => each.dataset.type)) {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort"), first = head.dataset.first ?? "ascending";
      sort(head, now === null ? first : now === "ascending" ? "descending" : "ascending");
    });
  }

  function filter() {
    const word = search.value.trim().toLowerCase(), wanted = new Set(kinds.filter((box) => box.checked).map((box) => box.value));
    for (const line of lines)
      line.hidden = !(wanted.has(line.dataset.kind) && line.dataset.name.toLowerCase().includes(word));
    const left = lines.filter((line) => !line.hidden).length;
    byId("board-count").textContent = `${left} of ${lines.length} rows`;
  }

  search.addEventListener("input", filter);
  for (const box of kinds) box.addEventListener("change", filter);
  byId("board-controls").hidden = lines.length < 2;
  filter();
  sort(heads[1], heads[1].dataset.first);

  body.addEventListener("click", (event) => {
    const button = event.target.closest("button.model");
    if (!button) return;
    const pick = byId("model-pick");
    pick.value = button.dataset.row;
    pick.dispatchEvent(new Event("change"));
    byId("model").scrollIntoView();
    byId("h-model").focus({ preventScroll: true });
  });
})();

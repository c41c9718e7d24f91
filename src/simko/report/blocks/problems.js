document.documentElement.classList.add("scripted");
for (const box of document.querySelectorAll(".problems")) {
  const chosen = box.querySelector("select"), text = box.querySelector("input"), body = box.querySelector("tbody");
  const value = (row, i) => {
    const shown = row.cells[i].textContent.trim(), number = Number(row.cells[i].dataset.value ?? shown.replace("−", "-"));
    return i && !Number.isNaN(number) ? number : shown;
  };
  const show = () => {
    let count = 0;
    for (const row of body.rows) {
      const fits = !chosen?.value || row.dataset.changes.split("|").includes(chosen.value);
      row.hidden = !fits || !row.cells[0].textContent.toLowerCase().includes(text.value.toLowerCase());
      count += !row.hidden;
    }
    box.querySelector("output").textContent = `${count} of ${body.rows.length} problems`;
  };
  const heads = [...box.querySelectorAll("thead th")];
  heads.forEach((head, i) => head.querySelector("button")?.addEventListener("click", () => {
    const down = head.ariaSort !== "descending", sign = down ? -1 : 1;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.ariaSort = down ? "descending" : "ascending";
    const order = (a, b) => typeof a === "string" ? a.localeCompare(b, undefined, {numeric: true}) : a - b;
    body.append(...[...body.rows].sort((a, b) => sign * order(value(a, i), value(b, i))));
  }));
  chosen?.addEventListener("change", show);
  text.addEventListener("input", show);
  show();
}

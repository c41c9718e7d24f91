{ // the page loads itself again, and is as its reader left it
  const heads = [...document.querySelectorAll("main > h2, main > h3")];
  const named = selector => { // [name, element]: names last while others come and go
    const count = {};
    return [...document.querySelectorAll(selector)].map(x => {
      const own = x.closest("figure")?.querySelector("h3, figcaption")?.textContent ?? x.querySelector(":scope > summary")?.firstChild.textContent;
      const name = [heads.findLast(head => head.compareDocumentPosition(x) & 4)?.textContent, own].join("\n");
      count[name] = (count[name] ?? 0) + 1;
      return [name + "\n" + count[name], x];
    });
  };
  const fill = (control, value) => {
    control.value = value;
    if (control.selectedIndex === -1) control.selectedIndex = 0;
    control.dispatchEvent(new Event("input", {bubbles: true}));
    control.dispatchEvent(new Event("change", {bubbles: true}));
  };
  const sort = (head, order) => {
    while (head.ariaSort !== order) head.querySelector("button").click();
  };
  const parts = { // what is kept: where, how it is read (nothing: it is as always), how it is put back
    open: ["details", x => x.open || undefined, x => { x.open = true; }],
    filters: [".filters :is(input, select)", x => x.value || undefined, fill],
    chosen: ["input[type=radio]", x => x.checked || undefined, x => { x.checked = true; }],
    sorted: ["thead th", x => x.ariaSort ?? undefined, sort],
    scrolled: [".scroll, .list, .text, pre", x => x.scrollTop || x.scrollLeft ? [x.scrollLeft, x.scrollTop] : undefined, (x, at) => x.scrollTo(...at)],
    focus: ["a, button, input, select, summary, [tabindex]", x => x === document.activeElement || undefined, x => x.focus({preventScroll: true})],
  };
  const place = () => { // the heading above the window, and how far above
    const head = heads.findLast(x => x.getBoundingClientRect().top < 1);
    return head && {name: head.textContent, top: head.getBoundingClientRect().top};
  };
  addEventListener("pagehide", () => {
    const kept = Object.fromEntries(Object.entries(parts).map(([part, [where, read]]) =>
      [part, named(where).map(([name, x]) => [name, read(x)]).filter(([, value]) => value !== undefined)]));
    sessionStorage.setItem("left", JSON.stringify({...kept, place: place(), y: scrollY}));
  });
  const left = JSON.parse(sessionStorage.getItem("left") ?? "null");
  if (left) {
    history.scrollRestoration = "manual";
    for (const x of document.querySelectorAll("details")) x.open = false;
    for (const [part, [where, , put]] of Object.entries(parts)) {
      const there = new Map(named(where));
      for (const [name, value] of left[part]) if (there.has(name)) put(there.get(name), value);
    }
    const scroll = () => {
      const head = heads.find(x => x.textContent === left.place?.name);
      scrollTo(0, head ? scrollY + head.getBoundingClientRect().top - left.place.top : left.y);
    };
    scroll();
    addEventListener("load", () => setTimeout(scroll));
  }
  setTimeout(() => location.reload(), 1000 * document.body.dataset.refresh);
}

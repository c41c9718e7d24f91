document.documentElement.classList.add("scripted");
for (const box of document.querySelectorAll(".samples")) {
  const [side, verdict, text] = box.querySelectorAll(".filters :is(select, input)");
  const groups = [...box.querySelectorAll(".asked")].map(group => ({
    group,
    words: (group.querySelector("summary").textContent + group.querySelector("pre").textContent).toLowerCase(),
    samples: [...group.querySelectorAll("article")].map(one => ({one, words: one.textContent.toLowerCase()})),
  }));
  const show = () => {
    const wanted = text.value.toLowerCase();
    let count = 0, all = 0;
    for (const {group, words, samples} of groups) {
      let here = 0;
      for (const {one, words: own} of samples) {
        const fits = (!side.value || one.dataset.side === side.value) && (!verdict.value || one.dataset.verdict === verdict.value);
        one.hidden = !fits || !(words.includes(wanted) || own.includes(wanted));
        here += !one.hidden;
      }
      group.hidden = !here;
      count += here;
      all += samples.length;
    }
    box.querySelector("output").textContent = `${count} of the ${all} responses shown here`;
  };
  for (const control of [side, verdict, text]) control.addEventListener("input", show);
  show();
}
const reveal = () => {
  const asked = document.getElementById(location.hash.slice(1))?.closest(".asked");
  if (!asked) return;
  asked.hidden = false;
  asked.open = true;
  asked.querySelector("summary").focus();
  asked.scrollIntoView();
};
addEventListener("hashchange", reveal);
for (const link of document.querySelectorAll(".problems a")) link.addEventListener("click", () => setTimeout(reveal));
reveal();

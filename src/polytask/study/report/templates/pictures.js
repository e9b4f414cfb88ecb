(() => {
  const section = document.getElementById("pictures");
  if (!section) return;
  const all = (selector, from = section) => [...from.querySelectorAll(selector)];

  // Which task, and predictions or errors: without JavaScript everything is shown.
  const tasks = document.getElementById("of-task");
  if (tasks) {
    tasks.hidden = all("input", tasks).length < 3;
    tasks.onchange = (event) => all(".of-task").forEach((part) => { part.hidden = Boolean(event.target.value) && part.dataset.task !== event.target.value; });
  }
  const shown = document.getElementById("shown");
  if (shown) {
    const apply = () => { section.className = `show-${shown.querySelector("input:checked").value}`; };
    shown.hidden = false;
    shown.onchange = apply;
    apply();
  }

  // Zoom: a press enlarges a picture, arrows go to its neighbours, in the table as in the enlargement.
  const visible = (part) => part && part.offsetParent !== null;
  const near = (shot, key) => {
    const cell = shot.closest("td"), row = cell.parentNode, rows = all("tr", row.closest("table"));
    const column = [...row.cells].indexOf(cell), place = all(".shot", cell).filter(visible).indexOf(shot);
    const pick = (found) => { const shots = found ? all(".shot", found).filter(visible) : []; return shots[Math.min(place, shots.length - 1)]; };
    if (key === "ArrowLeft") return pick(row.cells[column - 1]);
    if (key === "ArrowRight") return pick(row.cells[column + 1]);
    const here = all(".shot", cell).filter(visible), down = key === "ArrowDown";
    const beside = here[place + (down ? 1 : -1)];
    if (beside) return beside;
    const other = rows[rows.indexOf(row) + (down ? 1 : -1)];
    const shots = other && other.cells[column] ? all(".shot", other.cells[column]).filter(visible) : [];
    return shots[down ? 0 : shots.length - 1];
  };
  const dialog = Object.assign(document.createElement("dialog"), { className: "zoom" });
  const large = document.createElement("img"), words = document.createElement("p");
  const keys = Object.assign(document.createElement("p"), { className: "small soft", textContent: "Arrow keys: neighbours. Escape: close." });
  const close = Object.assign(document.createElement("button"), { type: "button", textContent: "Close" });
  words.setAttribute("aria-live", "polite");
  dialog.append(large, words, keys, close);
  document.body.append(dialog);
  let current = null;
  const show = (shot) => {
    current = shot;
    large.src = shot.src; large.alt = shot.alt; words.textContent = shot.alt;
    large.classList.toggle("coarse", shot.naturalWidth < 200);
    if (!dialog.open) dialog.showModal();
  };
  const arrows = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];
  close.onclick = () => dialog.close();
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { if (current) { reach(current); current.focus(); } });
  dialog.addEventListener("keydown", (event) => {
    if (!arrows.includes(event.key)) return;
    event.preventDefault();
    const next = near(current, event.key);
    if (next) show(next);
  });
  const reach = (shot) => { all(".shot", shot.closest("table")).forEach((each) => { each.tabIndex = each === shot ? 0 : -1; }); };
  all("table.shots").forEach((table) => {
    all(".shot", table).forEach((shot, index) => {
      shot.setAttribute("role", "button");
      shot.tabIndex = index ? -1 : 0;
      shot.onclick = () => { reach(shot); show(shot); };
      shot.onkeydown = (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(shot); }
        if (!arrows.includes(event.key)) return;
        const next = near(shot, event.key);
        if (next) { event.preventDefault(); reach(next); next.focus(); }
      };
    });
  });
})();

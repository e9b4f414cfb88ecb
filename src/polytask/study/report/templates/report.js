"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // Theme: the reader's system decides until the button, or #theme=dark in the address, says otherwise.
  const theme = document.getElementById("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`); };
  const asked = /theme=(dark|light)/.exec(location.hash);
  try { const kept = localStorage.getItem("polytask-theme"); if (kept === "dark" || kept === "light") root.dataset.theme = kept; } catch { /* no storage for local files */ }
  if (asked) root.dataset.theme = asked[1];
  theme.hidden = false;
  theme.onclick = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("polytask-theme", root.dataset.theme); } catch { /* as above */ }
    name();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();

  // Which curves to show.
  const choice = document.getElementById("choice");
  if (choice) {
    choice.hidden = all("input", choice).length < 2;
    choice.onchange = (event) => all("[data-shown]").forEach((figure) => { figure.hidden = !figure.dataset.shown.split(" ").includes(event.target.value); });
  }

  // Legends: a chip turns its line on and off in every chart.
  all(".legend button").forEach((button) => {
    button.onclick = () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      const key = CSS.escape(button.dataset.key);
      all(`.legend button[data-key="${key}"]`).forEach((chip) => chip.setAttribute("aria-pressed", on));
      all(`.series[data-key="${key}"]`).forEach((group) => {
        group.classList.toggle("muted", !on);
        if (on) group.parentNode.append(group);
      });
    };
  });

  // What lies under the pointer.
  const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
  tip.setAttribute("role", "status");
  document.body.append(tip);
  const cell = (text) => Object.assign(document.createElement("span"), { textContent: text });
  const show = (x, y) => {
    tip.hidden = false;
    const left = Math.min(x + 14, innerWidth - tip.offsetWidth - 8);
    const below = y + 14 + tip.offsetHeight < innerHeight;
    tip.style.left = `${Math.max(4, left) + scrollX}px`;
    tip.style.top = `${(below ? y + 14 : Math.max(4, y - tip.offsetHeight - 14)) + scrollY}px`;
  };
  const hide = () => { tip.hidden = true; };
  all("[data-tip]").forEach((part) => {
    part.addEventListener("pointermove", (event) => { tip.replaceChildren(part.dataset.tip); show(event.clientX, event.clientY); });
    part.addEventListener("pointerleave", hide);
  });
  all("figure > script").forEach((script) => {
    const chart = JSON.parse(script.textContent);
    const area = script.parentNode.querySelector("svg.area");
    const cursor = area.querySelector(".cursor");
    let index = chart.x.length - 1;
    const point = (at, x, y) => {
      index = Math.max(0, Math.min(chart.x.length - 1, at));
      const shown = new Set(all(".series:not(.muted)", area).map((group) => group.dataset.key));
      const lines = chart.series.filter((line) => shown.has(line.key) && line.v[index] !== null).sort((a, b) => b.v[index] - a.v[index]);
      tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: `${chart.axis} ${chart.x[index]}` }), ...lines.slice(0, 14).map((line) => {
        const row = document.createElement("div");
        row.append(cell(line.sign), cell(line.name), cell(line.v[index].toFixed(chart.digits).replace("-", "\u2212")));
        return row;
      }));
      const place = `${100 * chart.at[index]}%`;
      cursor.setAttribute("x1", place); cursor.setAttribute("x2", place); cursor.style.visibility = "visible";
      show(x, y);
    };
    const leave = () => { cursor.style.visibility = "hidden"; hide(); };
    const nearest = (share) => chart.at.reduce((best, at, i) => (Math.abs(at - share) < Math.abs(chart.at[best] - share) ? i : best), 0);
    const box = area.closest(".plot");
    box.addEventListener("pointermove", (event) => { const r = area.getBoundingClientRect(); point(nearest((event.clientX - r.left) / r.width), event.clientX, event.clientY); });
    box.addEventListener("pointerleave", leave);
    area.addEventListener("blur", leave);
    area.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") leave();
      if (!step) return;
      event.preventDefault();
      const r = area.getBoundingClientRect();
      point(index + step, r.left + r.width * chart.at[Math.max(0, Math.min(chart.x.length - 1, index + step))], r.top + r.height / 3);
    });
  });
})();

"use strict";
// Shows what the address says after `#`: nothing, a scenario, or a scenario and a step (`#snat/toggle/4`).
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const summary = $("#summary"), page = $("#scenario"), way = $("#way"), search = $("#search");
  const templates = new Map(all("template[data-scenario]").map((one) => [one.dataset.scenario, one]));
  const rows = all(".summary tbody tr");
  const order = rows.map((row) => $("a", row).getAttribute("href").slice(1));
  const title = document.title;
  let current = null, ways = null, opener = null;

  const asked = () => {
    const text = decodeURIComponent(location.hash.slice(1));
    if (templates.has(text)) return { name: text, step: null };
    const at = text.lastIndexOf("/");
    const name = text.slice(0, at);
    return at > 0 && templates.has(name) ? { name, step: text.slice(at + 1) } : { name: null, step: null };
  };

  const close = () => {
    if (way.hidden) return false;
    way.hidden = true;
    if (opener) { opener.removeAttribute("aria-expanded"); opener.focus(); }
    opener = null;
    return true;
  };

  const build = (name) => {
    page.replaceChildren(templates.get(name).content.cloneNode(true));
    ways = JSON.parse($("script[type='application/json']", page).textContent);
    const at = order.indexOf(name);
    for (const [selector, other] of [[".before", order[at - 1]], [".after", order[at + 1]]]) {
      const link = $(selector, page);
      if (other) link.href = "#" + other; else link.hidden = true;
    }
    for (const one of all("[data-on]", page)) {
      one.steps = ["on", "new", "gone"].map((what) => new Set((one.dataset[what] || "").split(" ")));
    }
  };

  const showStep = (step) => {
    for (const link of all(".steps a", page)) {
      if (link.dataset.step === step) link.setAttribute("aria-current", "step"); else link.removeAttribute("aria-current");
    }
    for (const one of all("[data-on]", page)) {
      const [on, fresh, gone] = one.steps;
      one.toggleAttribute("hidden", !on.has(step) && !gone.has(step));
      one.style.display = on.has(step) || gone.has(step) ? "" : "none";
      one.classList.toggle("is-new", fresh.has(step));
      one.classList.toggle("is-gone", gone.has(step) && !on.has(step));
    }
    for (const place of all(".place", page)) place.open = $(".is-new, .is-gone", place) !== null;
  };

  const show = () => {
    const { name, step } = asked();
    if (!way.hidden) { way.hidden = true; opener = null; }
    summary.hidden = name !== null;
    page.hidden = name === null;
    if (name === null) {
      document.title = title;
      current = null;
      page.replaceChildren();
      return;
    }
    const moved = current !== name;
    if (moved) build(name);
    current = name;
    const steps = all(".steps a", page).map((link) => link.dataset.step);
    const chosen = steps.includes(step) ? step : steps[0];
    showStep(chosen);
    document.title = `${name}, step ${chosen} - dvrlab`;
    if (moved) { window.scrollTo(0, 0); page.focus({ preventScroll: true }); }
  };

  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const hops = (caption, numbers) => {
    const table = element("table");
    table.append(element("caption", caption));
    const head = table.createTHead().insertRow();
    for (const name of ["where", "in", "out", "source", "destination", "ttl"]) {
      const cell = element("th", name);
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    let before = null;
    for (const number of numbers) {
      const row = body.insertRow();
      ways.hops[number].forEach((text, column) => {
        const differs = (column === 3 || column === 4) && before && before[column] !== text;
        row.append(element("td", text, differs ? "differs" : ""));
      });
      before = ways.hops[number];
    }
    return table;
  };

  const open = (button) => {
    const shut = element("button", "Close", "close");
    shut.type = "button";
    shut.addEventListener("click", close);
    const parts = [shut];
    const at = asked().step || $(".steps a", page).dataset.step;
    for (const number of button.dataset.way.split(" ")) {
      const told = ways.ways[number];
      parts.push(element("h3", `${told.flow} ${told.protocols.join(" ")}: ${told.outcome}`));
      if (told.there.length) parts.push(hops("there", told.there));
      if (told.back.length) parts.push(hops("back", told.back));
      const command = `dvrlab why ${ways.path}@${at} "${told.flow} ${told.protocols[0]}"`;
      parts.push(element("p", "What decided at each stop:", "quiet"), element("pre", command));
    }
    way.replaceChildren(...parts);
    way.hidden = false;
    if (opener) opener.removeAttribute("aria-expanded");
    opener = button;
    button.setAttribute("aria-expanded", "true");
    shut.focus({ preventScroll: true });
  };

  const turn = (by) => {
    const links = all(".steps a", page);
    const at = links.findIndex((link) => link.hasAttribute("aria-current"));
    const next = links[at + by];
    if (next) location.hash = next.getAttribute("href");
  };

  page.addEventListener("click", (event) => {
    const button = event.target.closest("[data-way]");
    if (button) open(button);
  });
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => row.dataset.text.toLowerCase().includes(word));
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target === search) { if (event.key === "Escape") search.blur(); return; }
    const at = order.indexOf(current);
    switch (event.key) {
      case "ArrowLeft": case "ArrowRight":
        if (current === null || event.target.closest(".scroll") === event.target) return;
        turn(event.key === "ArrowLeft" ? -1 : 1);
        break;
      case "[": case "]": {
        const other = current === null ? order[0] : order[at + (event.key === "[" ? -1 : 1)];
        if (other) location.hash = other;
        break;
      }
      case "/":
        location.hash = "";
        search.focus();
        break;
      case "Escape":
        if (!close() && current !== null) location.hash = "";
        break;
      default: return;
    }
    event.preventDefault();
  });
  window.addEventListener("hashchange", show);
  show();
})();

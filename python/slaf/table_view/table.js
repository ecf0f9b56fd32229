// A view of a table: draws the page that the kernel sends, and sends it the user's changes.
// Text from the data becomes text nodes, never HTML.

const PAUSE = 300; // ms after the last key before a filter is sent

function make(tag, properties = {}, ...children) {
  const { dataset, attributes = {}, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, dataset);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function button(text, label, onclick) {
  return make("button", { type: "button", textContent: text, onclick, attributes: { "aria-label": label, title: label } });
}

const grouped = (n) => n.toLocaleString("en");
// JSON has no -0, NaN or big integers: values are texts, and special numbers are lists.
const said = (cell) => (cell === null ? "NULL" : Array.isArray(cell) ? cell[0] : cell);

class View {
  constructor(model, el) {
    this.model = model;
    this.id = Math.random().toString(36).slice(2);
    this.ask = 0;
    this.columns = new Map(model.get("_columns").map((column) => [column.name, column]));
    this.summaries = new Map();
    this.heads = new Map();
    this.state = null;
    this.build(el);
    this.heard = (message) => this.hear(message);
    model.on("msg:custom", this.heard);
    model.send({ type: "hello", view: this.id, ask: this.ask });
  }

  close() {
    clearTimeout(this.pause);
    this.model.off("msg:custom", this.heard);
  }

  // The parts that never change ------------------------------------------------

  build(el) {
    this.rows = make("span", { className: "slaf-rows", attributes: { "aria-live": "polite" } }, "…");
    this.ticked = make("span", { className: "slaf-ticked" });
    this.error = make("div", { className: "slaf-error", hidden: true, attributes: { role: "alert" } });
    this.all = button("Clear filters", "Clear all filters", () => this.change({ filters: {}, page: 0 }));
    this.code = make("pre", { className: "slaf-code", tabIndex: 0 });
    this.chooser = make("div", { className: "slaf-chooser" });
    const copy = button("Copy", "Copy the SQL", () => this.copy(copy));
    const menu = (name, ...inside) =>
      make("details", {}, make("summary", { textContent: name }), make("div", { className: "slaf-menu" }, ...inside));
    this.menus = [menu("Columns", this.chooser), menu("SQL", copy, this.code)];
    this.menus[1].className = "slaf-wide";
    this.head = make("tr");
    this.body = make("tbody");
    const table = make("table", { attributes: { "aria-label": "Rows" } }, make("thead", {}, this.head), this.body);
    this.scroll = make("div", { className: "slaf-scroll", tabIndex: 0 }, table);
    const to = (text, label, page) => button(text, label, () => this.change({ page: page() }));
    this.back = [to("«", "First page", () => 0), to("‹", "Previous page", () => this.state.page - 1)];
    this.forth = [to("›", "Next page", () => this.state.page + 1), to("»", "Last page", () => this.pages - 1)];
    this.place = make("span");
    this.size = make("select", { attributes: { "aria-label": "Rows of a page" } });
    for (const n of [10, 20, 50, 100, 200]) this.size.append(make("option", { value: n, textContent: `${n} rows` }));
    this.size.onchange = () => this.change({ size: Number(this.size.value), page: 0 });
    const bar = make("div", { className: "slaf-bar" }, this.rows, this.ticked, this.all, ...this.menus);
    const foot = make("div", { className: "slaf-bar" }, ...this.back, this.place, ...this.forth, this.size);
    el.classList.add("slaf-table");
    // While the table has the focus, keys are not shortcuts of JupyterLab.
    el.dataset.lmSuppressShortcuts = "true";
    el.append(bar, this.error, this.scroll, foot);
    // Without a kernel, as in an exported page, there is no page of it to show.
    el.hidden = true;
    this.el = el;
    this.choose();
  }

  async copy(from) {
    const text = this.code.textContent;
    try {
      await navigator.clipboard.writeText(text);
      from.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(this.code);
      from.textContent = "Press Ctrl+C";
    }
    setTimeout(() => (from.textContent = "Copy"), 2000);
  }

  choose() {
    const search = make("input", { type: "search", placeholder: "Find a column", attributes: { "aria-label": "Find a column" } });
    const list = make("div", { className: "slaf-choices" });
    search.oninput = () => this.fillChooser(list, search.value);
    this.menus[0].ontoggle = () => this.fillChooser(list, search.value);
    this.chooser.append(search, list);
  }

  fillChooser(list, part) {
    const shown = new Set(this.state?.shown);
    const found = [...this.columns.keys()].filter((name) => name.toLowerCase().includes(part.toLowerCase()));
    const choice = (name) => {
      const box = make("input", { type: "checkbox", checked: shown.has(name) });
      box.onchange = () => {
        const names = [...this.columns.keys()].filter((n) => (n === name ? box.checked : this.state.shown.includes(n)));
        this.change({ shown: names });
      };
      return make("label", {}, box, make("span", { textContent: name || "(no name)" }));
    };
    list.replaceChildren(...found.slice(0, 200).map(choice));
    if (found.length > 200) list.append(make("div", { textContent: `… and ${grouped(found.length - 200)} more` }));
  }

  // Messages --------------------------------------------------------------------

  change(change) {
    if (!this.state) return;
    this.state = { ...this.state, ...change };
    this.ask += 1;
    this.scroll.setAttribute("aria-busy", "true");
    this.model.send({ type: "state", view: this.id, ask: this.ask, state: this.state });
  }

  filter(name, wanted) {
    const filters = { ...this.state.filters };
    if (wanted === null) delete filters[name];
    else filters[name] = wanted;
    this.change({ filters, page: 0 });
  }

  hear(message) {
    // Answers to requests before the last change are out of date.
    if (message.view === this.id && message.ask < this.ask) return;
    this.el.hidden = false;
    if (message.type === "page") this.draw(message);
    else if (message.type === "summary") this.summarize(message.name, message.summary);
    else if (message.type === "ticked") this.told(message.count);
    else if (message.type === "error") this.refused(message);
  }

  refused(message) {
    if (message.view && message.view !== this.id) return;
    this.error.textContent = message.message;
    this.error.hidden = false;
    this.scroll.removeAttribute("aria-busy");
    if (this.good) this.state = this.good;
  }

  told(count) {
    this.ticked.textContent = count ? `${grouped(count)} selected` : "";
  }

  // The page ----------------------------------------------------------------------

  draw(page) {
    this.state = this.good = page.state;
    this.error.hidden = true;
    this.scroll.removeAttribute("aria-busy");
    const { count, total, state } = page;
    this.pages = Math.max(Math.ceil(count / state.size), 1);
    const rows = `${grouped(total)} row${total === 1 ? "" : "s"}`;
    this.rows.textContent = count === total ? rows : `${grouped(count)} of ${rows}`;
    this.place.textContent = `Page ${grouped(state.page + 1)} of ${grouped(this.pages)}`;
    for (const b of this.back) b.disabled = state.page === 0;
    for (const b of this.forth) b.disabled = state.page + 1 >= this.pages;
    this.all.hidden = !Object.keys(state.filters).length;
    this.size.value = state.size;
    this.code.textContent = page.sql;
    this.told(page.ticked);
    if (JSON.stringify([...this.heads.keys()]) !== JSON.stringify(state.shown) || !this.whole) this.drawHead();
    for (const [name, head] of this.heads) this.drawState(name, head);
    this.drawRows(page);
  }

  drawRows(page) {
    this.keys = page.keys;
    const kinds = this.state.shown.map((name) => this.columns.get(name).kind);
    const first = this.state.page * this.state.size + 1;
    const rows = page.rows.map((cells, at) => {
      const box = make("input", { type: "checkbox", checked: page.ticks[at], attributes: { "aria-label": `Select row ${first + at}` } });
      box.onchange = () => this.tick([page.keys[at]], box.checked);
      const values = cells.map((cell, i) => {
        const special = cell === null || Array.isArray(cell);
        return make("td", { className: `slaf-${kinds[i]}${special ? " slaf-special" : ""}`, textContent: said(cell) });
      });
      return make("tr", {}, make("td", {}, box), ...values);
    });
    this.body.replaceChildren(...rows);
    this.whole.checked = page.ticks.length > 0 && page.ticks.every(Boolean);
  }

  tick(rows, on) {
    this.model.send({ type: "tick", rows, on });
  }

  // Heads ---------------------------------------------------------------------------

  drawHead() {
    this.heads.clear();
    this.whole = make("input", { type: "checkbox", attributes: { "aria-label": "Select the rows of this page" } });
    this.whole.onchange = () => {
      for (const box of this.body.querySelectorAll("input")) box.checked = this.whole.checked;
      this.tick(this.keys, this.whole.checked);
    };
    const heads = this.state.shown.map((name) => {
      const head = this.headOf(this.columns.get(name));
      this.heads.set(name, head);
      return head.node;
    });
    this.head.replaceChildren(make("th", {}, this.whole), ...heads);
    for (const name of this.heads.keys()) if (this.summaries.has(name)) this.drawSummary(name);
  }

  headOf({ name, kind, type, hint }) {
    const sort = make("button", { type: "button", className: "slaf-sort", title: "Sort; with Shift, after the others" });
    const arrow = make("span", { attributes: { "aria-hidden": "true" } });
    sort.append(make("span", { className: "slaf-name", textContent: name || "(no name)" }), arrow);
    sort.onclick = (event) => this.sort(name, event.shiftKey);
    const input = make("input", { type: "search", placeholder: "filter", title: hint, attributes: { "aria-label": `Filter ${name}: ${hint}` } });
    const send = () => {
      clearTimeout(this.pause);
      const typed = input.value.trim();
      if (typed !== (this.state.filters[name]?.said ?? "")) this.filter(name, typed ? { typed } : null);
    };
    input.oninput = () => {
      clearTimeout(this.pause);
      this.pause = setTimeout(send, PAUSE);
    };
    input.onkeydown = (event) => {
      if (event.key === "Enter") send();
    };
    const picture = make("div", { className: "slaf-picture" });
    const node = make("th", { scope: "col", dataset: { column: name, kind } });
    node.append(sort, make("div", { className: "slaf-type", textContent: type, title: type }), input, picture);
    return { node, arrow, input, picture };
  }

  sort(name, more) {
    const order = this.state.order;
    const at = order.findIndex(([n]) => n === name);
    // Ascending, descending, unsorted.
    const next = at < 0 ? [[name, false]] : order[at][1] ? [] : [[name, true]];
    const others = more ? order : order.filter(([n]) => n === name);
    const place = others.findIndex(([n]) => n === name);
    const kept = place < 0 ? [...others, ...next] : others.toSpliced(place, 1, ...next);
    this.change({ order: more ? kept : next, page: 0 });
  }

  drawState(name, { node, arrow, input }) {
    const at = this.state.order.findIndex(([n]) => n === name);
    const down = at >= 0 && this.state.order[at][1];
    node.setAttribute("aria-sort", at < 0 ? "none" : down ? "descending" : "ascending");
    arrow.textContent = at < 0 ? "" : ` ${down ? "▼" : "▲"}${this.state.order.length > 1 ? at + 1 : ""}`;
    const wanted = this.state.filters[name];
    node.classList.toggle("slaf-filtered", Boolean(wanted));
    if (input !== input.getRootNode().activeElement) input.value = wanted?.said ?? "";
    for (const bar of node.querySelectorAll(".slaf-value")) {
      bar.setAttribute("aria-pressed", String(Boolean(wanted?.values?.includes(bar.dataset.value))));
    }
  }

  summarize(name, summary) {
    this.summaries.set(name, summary);
    if (this.heads.has(name)) this.drawSummary(name);
  }

  drawSummary(name) {
    const head = this.heads.get(name);
    // A column that is being brushed is redrawn only once the pointer is up.
    if (head.brushed) return;
    const { picture } = head;
    const summary = this.summaries.get(name);
    const parts = summary.bins ? [this.histogram(name, summary)] : summary.bars ? this.bars(name, summary) : [];
    const notes = [["null", summary.null], [summary.bars ? "others" : "NaN, inf", summary.other ?? [0, 0]]];
    for (const [label, [all, left]] of notes) {
      if (all) parts.push(make("div", { className: "slaf-note", textContent: `${label}: ${left === all ? "" : `${grouped(left)} of `}${grouped(all)}` }));
    }
    picture.replaceChildren(...parts);
    this.drawState(name, head);
  }

  // A histogram of numbers or dates: all rows behind, the remaining ones in front; a range
  // is drawn with the pointer, and typed below.
  histogram(name, { bins, edges }) {
    const most = Math.max(1, ...bins.map(([all]) => all));
    const bars = bins.map(([all, left], at) => {
      const tall = (n) => `${n ? Math.max((100 * n) / most, 4) : 0}%`;
      const behind = make("i", { className: "slaf-behind" });
      const front = make("i", { className: "slaf-front" });
      behind.style.height = tall(all);
      front.style.height = tall(left);
      return make("div", { className: "slaf-bin", title: `${edges[at]} – ${edges[at + 1]}: ${grouped(left)} of ${grouped(all)}` }, behind, front);
    });
    const label = `${edges[0]} to ${edges.at(-1)}, in ${bins.length} bins`;
    const plot = make("div", { className: "slaf-plot", attributes: { role: "img", "aria-label": label } }, ...bars);
    const ends = make("div", { className: "slaf-ends" }, make("span", { textContent: short(edges[0]) }), make("span", { textContent: short(edges.at(-1)) }));
    this.brush(name, plot, bars, (from, to) => {
      const last = to === bins.length - 1;
      this.filter(name, { min: edges[from], ...(last ? { max: edges.at(-1) } : { below: edges[to + 1] }) });
    });
    return make("div", {}, plot, ends);
  }

  brush(name, plot, bars, chosen) {
    const head = this.heads.get(name);
    let ends = null;
    const at = (event) => {
      const { left, width } = plot.getBoundingClientRect();
      return Math.min(Math.max(Math.floor(((event.clientX - left) / width) * bars.length), 0), bars.length - 1);
    };
    const paint = () => {
      const [low, high] = ends ? ends.toSorted((a, b) => a - b) : [1, 0];
      bars.forEach((bar, i) => bar.classList.toggle("slaf-brushed", i >= low && i <= high));
    };
    const over = (choose) => {
      if (!ends) return;
      const [low, high] = ends.toSorted((a, b) => a - b);
      ends = null;
      head.brushed = false;
      if (choose) chosen(low, high);
      this.drawSummary(name);
    };
    plot.onpointerdown = (event) => {
      plot.setPointerCapture(event.pointerId);
      head.brushed = true;
      ends = [at(event), at(event)];
      paint();
      event.preventDefault();
    };
    plot.onpointermove = (event) => {
      if (!ends) return;
      ends[1] = at(event);
      paint();
    };
    plot.onpointerup = () => over(true);
    plot.onpointercancel = () => over(false);
  }

  bars(name, { bars, values }) {
    const most = Math.max(1, ...bars.map(([, all]) => all));
    return bars.map(([text, all, left], at) => {
      const value = values[at];
      const bar = make("button", { type: "button", className: "slaf-value", dataset: { value }, title: `${text}: ${grouped(left)} of ${grouped(all)}` });
      bar.style.setProperty("--all", `${(100 * all) / most}%`);
      bar.style.setProperty("--left", `${(100 * left) / most}%`);
      bar.append(make("span", { textContent: text }), make("span", { textContent: grouped(left) }));
      bar.onclick = () => {
        const { values: chosen = [], null: missing } = this.state.filters[name] ?? {};
        const rest = chosen.includes(value) ? chosen.filter((v) => v !== value) : [...chosen, value];
        this.filter(name, rest.length ? { values: rest, ...(missing ? { null: true } : {}) } : null);
      };
      return bar;
    });
  }
}

const short = (edge) => (/^-?[\d.]+(e.*)?$/.test(edge) && edge.length > 8 ? String(Number(Number(edge).toPrecision(4))) : edge);

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.close();
  },
};

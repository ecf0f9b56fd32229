// The legend of the colours: categories that can be hidden and shown, or a scale of numbers.

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "slaf-legend";
  el.append(root);
  const fill = () => root.replaceChildren(...contents(model));
  model.on("change", fill);
  fill();
  return () => model.off("change", fill);
}

function contents(model) {
  const parts = [node("div", "slaf-title", model.get("title"))];
  const ends = model.get("ends");
  if (ends.length) {
    const scale = node("div", "slaf-scale");
    scale.style.background = `linear-gradient(to right, ${model.get("colours").join(",")})`;
    const numbers = node("div", "slaf-ends");
    numbers.append(...ends.map((end) => node("span", "", end)));
    parts.push(scale, numbers);
  }
  if (model.get("note")) parts.push(node("div", "slaf-note", model.get("note")));
  if (ends.length) return parts;
  const list = node("div", "slaf-categories");
  list.append(...model.get("labels").map((label, at) => category(model, label, at)));
  return [...parts, list];
}

function category(model, label, at) {
  const shown = !model.get("hidden").includes(at);
  const row = node("div", "slaf-category");
  const toggle = node("button", "slaf-toggle");
  toggle.type = "button";
  toggle.title = `${shown ? "Hide" : "Show"} ${label}`;
  toggle.setAttribute("aria-pressed", String(shown));
  toggle.onclick = () => model.send({ type: shown ? "hide" : "show", at });
  const dot = node("span", "slaf-dot");
  dot.style.background = model.get("colours")[at];
  toggle.append(dot, node("span", "slaf-label", label));
  const only = node("button", "slaf-only", "only");
  only.type = "button";
  only.title = `Hide all but ${label}`;
  only.onclick = () => model.send({ type: "only", at });
  const count = model.get("counts")[at].toLocaleString("en");
  row.append(toggle, node("span", "slaf-count", count), only);
  return row;
}

function node(name, kind, text = "") {
  const made = document.createElement(name);
  made.className = kind;
  // Text, never markup: names come from the data.
  made.textContent = text;
  return made;
}

export default { render };

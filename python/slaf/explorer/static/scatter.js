// One embedding: draws the cells that the kernel sends, moves, zooms, and sends lassos.

/** A change is sent to the kernel after this many milliseconds without another one. */
const MOVED_AFTER = 150;
const SETTLED_AFTER = 1500;

function render({ model, el }) {
  const view = new Scatter(model, el);
  return () => view.destroy();
}

class Scatter {
  constructor(model, el) {
    this.model = model;
    this.camera = new Camera();
    this.build(el);
    this.points = this.drawer(model.get("renderer"));
    this.stage.dataset.drawnBy = this.points.name;
    this.listen();
    this.readCells();
    this.readDensity();
    this.sized = new ResizeObserver(() => this.resize());
    this.sized.observe(this.stage);
  }

  build(el) {
    const make = (name, kind, parent) => {
      const node = document.createElement(name);
      node.className = kind;
      parent.append(node);
      return node;
    };
    this.root = make("div", "slaf-scatter", el);
    const bar = make("div", "slaf-bar", this.root);
    make("span", "slaf-name", bar).textContent = this.model.get("name");
    this.buttons = {};
    for (const [tool, text, title] of [
      ["move", "Move", "Drag to move, turn the wheel to zoom; Shift and drag to select"],
      ["lasso", "Lasso", "Drag around cells to select them"],
      ["fit", "Fit", "All cells again (or double click)"],
    ]) {
      const button = make("button", "slaf-tool", bar);
      Object.assign(button, { textContent: text, title, type: "button" });
      button.onclick = () => (tool === "fit" ? this.fit() : this.take(tool));
      this.buttons[tool] = button;
    }
    this.stage = make("div", "slaf-stage", this.root);
    this.stage.style.height = `${this.model.get("height")}px`;
    this.density = make("canvas", "slaf-layer", this.stage);
    this.canvas = make("canvas", "slaf-layer", this.stage);
    this.overlay = make("canvas", "slaf-layer", this.stage);
    this.take("move");
  }

  drawer(wanted) {
    if (wanted === "webgl" || (wanted === "auto" && hasCard())) {
      try {
        return new WebglPoints(this.canvas);
      } catch (error) {
        console.warn("No WebGL, so the processor draws:", error);
        // A canvas that was used with WebGL has no 2D context.
        const another = this.canvas.cloneNode();
        this.canvas.replaceWith(another);
        this.canvas = another;
      }
    }
    return new CanvasPoints(this.canvas);
  }

  take(tool) {
    this.tool = tool;
    for (const [name, button] of Object.entries(this.buttons)) {
      button.setAttribute("aria-pressed", String(name === tool));
    }
    this.stage.style.cursor = tool === "lasso" ? "crosshair" : "grab";
  }

  listen() {
    const cells = () => this.readCells();
    const density = () => this.readDensity();
    this.told = [
      ...["positions", "codes", "flags", "palette", "high"].map((name) => [name, cells]),
      ...["density", "density_box"].map((name) => [name, density]),
    ];
    for (const [name, call] of this.told) this.model.on(`change:${name}`, call);
    this.stage.onpointerdown = (event) => this.press(event);
    this.stage.ondblclick = () => this.fit();
    this.stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  // What the kernel sends -------------------------------------------------------

  readCells() {
    const { model } = this;
    const xy = values(model.get("positions"), Uint16Array);
    const flags = values(model.get("flags"), Uint8Array);
    const palette = values(model.get("palette"), Uint8Array);
    const codes = values(model.get("codes"), palette.length > 768 ? Uint16Array : Uint8Array);
    // One message may change several traits, one after the other.
    if (xy.length !== 2 * codes.length || flags.length !== codes.length) return;
    if (flags.buffer !== this.flags?.buffer) {
      this.flags = flags;
      this.selected = flags.includes(3);
    }
    const { selected } = this;
    this.points.set({ xy, codes, flags, palette, selected, high: model.get("high") });
    this.ready = true;
    this.changed();
  }

  readDensity() {
    const rgba = values(this.model.get("density"), Uint8ClampedArray);
    this.picture = undefined;
    if (rgba.length) {
      const side = Math.sqrt(rgba.length / 4);
      this.picture = document.createElement("canvas");
      this.picture.width = this.picture.height = side;
      const image = new ImageData(new Uint8ClampedArray(rgba), side, side);
      this.picture.getContext("2d").putImageData(image, 0, 0);
    }
    this.changed();
  }

  changed() {
    this.fresh = true;
    this.draw();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.model.send({ type: "settled" }), SETTLED_AFTER);
  }

  // Drawing ---------------------------------------------------------------------

  resize() {
    const { clientWidth, clientHeight } = this.stage;
    if (!clientWidth || !clientHeight) return;
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    for (const layer of [this.density, this.canvas, this.overlay]) {
      layer.width = Math.round(clientWidth * this.ratio);
      layer.height = Math.round(clientHeight * this.ratio);
    }
    this.camera.resize(this.canvas.width, this.canvas.height);
    const seen = this.model.get("window");
    if (!this.seen && seen.length) this.camera.window = seen;
    this.seen = true;
    this.draw();
  }

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      if (!this.seen || !this.ready) return;
      this.drawDensity();
      this.points.draw(this.camera, this.pointSize());
      const { dataset } = this.stage;
      dataset.frames = Number(dataset.frames ?? 0) + 1;
      if (this.fresh) dataset.updates = Number(dataset.updates ?? 0) + 1;
      this.fresh = false;
    });
  }

  pointSize() {
    const n = this.points.cells.codes.length;
    const size = Math.min(7, Math.max(1, 700 / Math.sqrt(n + 1)));
    return Math.round(Math.min(12, size * Math.max(1, this.camera.zoom) ** 0.4) * this.ratio);
  }

  drawDensity() {
    const context = this.density.getContext("2d");
    context.clearRect(0, 0, this.density.width, this.density.height);
    if (!this.picture) return;
    const [left, bottom, right, top] = this.model.get("density_box");
    const [x, y] = this.camera.toScreen(left, top);
    const { scale } = this.camera;
    context.imageSmoothingEnabled = false;
    context.drawImage(this.picture, x, y, (right - left) * scale, (top - bottom) * scale);
  }

  // The mouse -------------------------------------------------------------------

  at(event) {
    const box = this.stage.getBoundingClientRect();
    return [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
  }

  press(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    const lasso = this.tool === "lasso" || event.shiftKey ? [this.at(event)] : undefined;
    let last = this.at(event);
    this.stage.setPointerCapture(event.pointerId);
    this.stage.onpointermove = (moved) => {
      const now = this.at(moved);
      if (lasso) {
        lasso.push(now);
        this.drawLasso(lasso);
      } else {
        this.camera.pan(now[0] - last[0], now[1] - last[1]);
        this.moved();
      }
      last = now;
    };
    this.stage.onpointerup = this.stage.onpointercancel = () => {
      this.stage.onpointermove = this.stage.onpointerup = this.stage.onpointercancel = null;
      if (!lasso) return;
      this.drawLasso([]);
      if (lasso.length < 3) return;
      const polygon = lasso.map(([x, y]) => this.camera.toUnit(x, y));
      this.model.send({ type: "lasso", polygon });
    };
  }

  drawLasso(path) {
    const context = this.overlay.getContext("2d");
    context.clearRect(0, 0, this.overlay.width, this.overlay.height);
    if (path.length < 2) return;
    context.beginPath();
    for (const [x, y] of path) context.lineTo(x, y);
    context.closePath();
    context.fillStyle = "rgba(60, 110, 220, 0.12)";
    context.strokeStyle = "rgb(60, 110, 220)";
    context.lineWidth = 1.5 * this.ratio;
    context.fill();
    context.stroke();
  }

  wheel(event) {
    event.preventDefault();
    this.camera.zoomAt(...this.at(event), Math.exp(-event.deltaY * 0.0015));
    this.moved();
  }

  fit() {
    this.camera.fit();
    this.moved();
  }

  moved() {
    this.draw();
    clearTimeout(this.moving);
    this.moving = setTimeout(() => {
      this.model.set("window", this.camera.window);
      this.model.save_changes();
    }, MOVED_AFTER);
  }

  destroy() {
    this.sized.disconnect();
    clearTimeout(this.moving);
    clearTimeout(this.settling);
    for (const [name, call] of this.told) this.model.off(`change:${name}`, call);
    this.points.destroy();
  }
}

/** The bytes of a trait as numbers. */
function values(view, Kind) {
  if (!view?.byteLength) return new Kind();
  const { buffer, byteOffset, byteLength } = view;
  const size = Kind.BYTES_PER_ELEMENT;
  if (byteOffset % size === 0) return new Kind(buffer, byteOffset, byteLength / size);
  return new Kind(buffer.slice(byteOffset, byteOffset + byteLength));
}

export default { render };

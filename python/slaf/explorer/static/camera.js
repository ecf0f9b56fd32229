// The visible part of the unit square, and its size on the screen.

const MAX_ZOOM = 100;

class Camera {
  constructor() {
    this.width = this.height = 1;
    this.fit();
  }

  fit() {
    Object.assign(this, { x: 0.5, y: 0.5, zoom: 1 });
  }

  resize(width, height) {
    Object.assign(this, { width, height });
  }

  /** Length of the unit square's side in pixels. */
  get scale() {
    return Math.min(this.width, this.height) * this.zoom;
  }

  toScreen(x, y) {
    const { scale } = this;
    return [this.width / 2 + (x - this.x) * scale, this.height / 2 - (y - this.y) * scale];
  }

  toUnit(left, top) {
    const { scale } = this;
    return [this.x + (left - this.width / 2) / scale, this.y - (top - this.height / 2) / scale];
  }

  pan(left, top) {
    this.x -= left / this.scale;
    this.y += top / this.scale;
  }

  /** Zooms by a factor around the point (left, top). */
  zoomAt(left, top, factor) {
    const [x, y] = this.toUnit(left, top);
    this.zoom = Math.min(MAX_ZOOM, Math.max(0.5, this.zoom * factor));
    const [after, afterY] = this.toUnit(left, top);
    this.x += x - after;
    this.y += y - afterY;
  }

  /** Left, bottom, right and top of the visible part. */
  get window() {
    const [left, bottom] = this.toUnit(0, this.height);
    const [right, top] = this.toUnit(this.width, 0);
    return [left, bottom, right, top];
  }

  set window([left, bottom, right, top]) {
    this.x = (left + right) / 2;
    this.y = (bottom + top) / 2;
    const scale = Math.min(this.width / (right - left), this.height / (top - bottom));
    this.zoom = scale / Math.min(this.width, this.height);
  }
}

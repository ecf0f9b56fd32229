// Points drawn by WebGL 2.

const VERTEX = `#version 300 es
in vec2 place;
in float code;
in float flag;
uniform vec4 transform;
uniform float size, missing;
uniform bool high, anySelected;
uniform sampler2D palette;
flat out vec3 colour;
void main() {
  bool shown = mod(flag, 2.0) > 0.5, chosen = flag > 1.5;
  // Selected cells are drawn above the others, and with "high" large numbers above small ones.
  float rank = (chosen ? 512.0 : 1.0) + (high && code != missing ? code : 0.0);
  gl_Position = shown ? vec4(place * transform.xy + transform.zw, 1.0 - rank / 512.0, 1.0)
                      : vec4(2.0, 2.0, 2.0, 1.0);
  gl_PointSize = size;
  int at = int(code);
  colour = texelFetch(palette, ivec2(at % 256, at / 256), 0).rgb;
  if (anySelected && !chosen) colour = mix(vec3(0.922), colour, 0.2);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
flat in vec3 colour;
uniform float size;
out vec4 pixel;
void main() {
  if (size >= 4.0 && length(gl_PointCoord - 0.5) > 0.5) discard;
  pixel = vec4(colour, 1.0);
}`;

class WebglPoints {
  name = "webgl";

  constructor(canvas) {
    this.canvas = canvas;
    const gl = (this.gl = canvas.getContext("webgl2", { antialias: false, depth: true }));
    const program = (this.program = gl.createProgram());
    for (const [kind, source] of [
      [gl.VERTEX_SHADER, VERTEX],
      [gl.FRAGMENT_SHADER, FRAGMENT],
    ]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(gl.getProgramInfoLog(program));
    }
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    this.buffers = {};
    this.held = {};
  }

  set(cells) {
    const { gl } = this;
    this.cells = cells;
    this.fill("place", cells.xy, 2, gl.UNSIGNED_SHORT, true);
    const wide = cells.codes.BYTES_PER_ELEMENT === 2;
    this.fill("code", cells.codes, 1, wide ? gl.UNSIGNED_SHORT : gl.UNSIGNED_BYTE, false);
    this.fill("flag", cells.flags, 1, gl.UNSIGNED_BYTE, false);
    if (this.held.palette === cells.palette) return;
    this.held.palette = cells.palette;
    const rows = Math.ceil(cells.palette.length / 3 / 256);
    const texels = new Uint8Array(rows * 256 * 3);
    texels.set(cells.palette);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, 256, rows, 0, gl.RGB, gl.UNSIGNED_BYTE, texels);
  }

  /** Uploads the data that is not yet on the graphics card. */
  fill(name, values, width, type, normalized) {
    if (this.held[name] === values) return;
    const { gl } = this;
    this.held[name] = values;
    this.buffers[name] ??= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    const at = gl.getAttribLocation(this.program, name);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, width, type, normalized, 0, 0);
  }

  draw(camera, size) {
    const { gl, cells } = this;
    const uniform = (name) => gl.getUniformLocation(this.program, name);
    const [sx, sy] = [(2 * camera.scale) / camera.width, (2 * camera.scale) / camera.height];
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniform4f(uniform("transform"), sx, sy, -camera.x * sx, -camera.y * sy);
    gl.uniform1f(uniform("size"), size);
    gl.uniform1f(uniform("missing"), cells.palette.length / 3 - 1);
    gl.uniform1i(uniform("high"), cells.high);
    gl.uniform1i(uniform("anySelected"), cells.selected);
    gl.drawArrays(gl.POINTS, 0, cells.codes.length);
  }

  destroy() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

/** Whether there is WebGL 2 on a graphics card. */
function hasCard() {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return false;
  const names = gl.getExtension("WEBGL_debug_renderer_info");
  const name = gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

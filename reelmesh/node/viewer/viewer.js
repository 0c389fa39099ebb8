"use strict";
// The layers' video has four quarters: colour over depth, and on the right what lies behind near
// things. Each layer is a grid of vertices moved to their depth in the vertex shader; the near one
// has holes where a face would span a jump of depth, and the other one is seen through them.
const told = JSON.parse(document.getElementById("told").textContent);
const canvas = document.getElementById("view");
const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
const note = document.getElementById("note");
const NEAR = 0.8, FAR = 1.7, LEVELS = [28, 200]; // as in fourd/geometry.py and view_layers.py
const THINNEST = 2.5; // degrees, as in fourd/mesh.py
// Both layers go on, mirrored, this far beyond the footage: the near one as far as a turn shows.
const MARGIN = 0.6, NEAR_MARGIN = 0.25;

const VERTEX = `#version 300 es
precision highp float;
in vec2 place;                 // 0..1 over the footage, and beyond it
uniform sampler2D film;
uniform vec2 half_angle;       // tangents of half the footage's angles
uniform mat3 turn;             // rows: right, up, forward of the camera
uniform vec3 eye;
uniform vec2 lens;             // 1 / tangents of half the camera's angles
uniform float side;            // 0: the near layer, 1: the layer behind
out vec2 at;
vec2 mirrored(vec2 p) { p = abs(p); return 1.0 - abs(1.0 - p); }
vec2 quarter(vec2 p, float low, vec2 size) {
  vec2 edge = 1.5 / size;      // not into the neighbouring quarter
  p = clamp(p, edge, 1.0 - edge);
  return vec2((p.x + side) * 0.5, (p.y + low) * 0.5);
}
void main() {
  vec2 size = vec2(textureSize(film, 0)) * 0.5;
  float level = textureLod(film, quarter(mirrored(place), 1.0, size), 0.0).r * 255.0;
  float d = clamp((level - ${LEVELS[0]}.0) / ${LEVELS[1]}.0, 0.0, 1.0);
  float z = 1.0 / (d * (1.0 / ${NEAR} - 1.0 / ${FAR.toFixed(1)}) + 1.0 / ${FAR.toFixed(1)});
  if (side > 0.5) z *= 1.004;
  vec3 world = vec3((place.x * 2.0 - 1.0) * half_angle.x, (1.0 - place.y * 2.0) * half_angle.y, 1.0) * z;
  vec3 seen = turn * (world - eye);
  at = place;
  gl_Position = vec4(seen.xy * lens, (seen.z - 0.1) / 9.9 * 2.0 * seen.z - seen.z, seen.z);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec2 at;
uniform sampler2D film;
uniform vec2 half_angle;
uniform float side;
out vec4 colour;
vec2 mirrored(vec2 p) { p = abs(p); return 1.0 - abs(1.0 - p); }
vec2 quarter(vec2 p, float low, vec2 size) {
  vec2 edge = 1.5 / size;
  p = clamp(p, edge, 1.0 - edge);
  return vec2((p.x + side) * 0.5, (p.y + low) * 0.5);
}
float depth(vec2 p, vec2 size) {
  float level = textureLod(film, quarter(p, 1.0, size), 0.0).r * 255.0;
  float d = clamp((level - ${LEVELS[0]}.0) / ${LEVELS[1]}.0, 0.0, 1.0);
  return 1.0 / (d * (1.0 / ${NEAR} - 1.0 / ${FAR.toFixed(1)}) + 1.0 / ${FAR.toFixed(1)});
}
void main() {
  vec2 size = vec2(textureSize(film, 0)) * 0.5;
  vec2 p = mirrored(at);
  if (side < 0.5) {
    vec2 step_ = 1.0 / size;
    float here = depth(p, size);
    float gap = max(
      max(abs(depth(p + vec2(step_.x, 0.0), size) - here), abs(depth(p - vec2(step_.x, 0.0), size) - here)),
      max(abs(depth(p + vec2(0.0, step_.y), size) - here), abs(depth(p - vec2(0.0, step_.y), size) - here)));
    float wide = 2.0 * half_angle.x * step_.x * here;
    if (wide < gap * ${Math.tan(THINNEST * Math.PI / 180).toFixed(6)}) discard;
  }
  colour = vec4(textureLod(film, quarter(p, 0.0, size), 0.0).rgb, 1.0);
}`;

function shader(kind, source) {
  const made = gl.createShader(kind);
  gl.shaderSource(made, source);
  gl.compileShader(made);
  if (!gl.getShaderParameter(made, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(made));
  return made;
}

function makeProgram() {
  const program = gl.createProgram();
  gl.attachShader(program, shader(gl.VERTEX_SHADER, VERTEX));
  gl.attachShader(program, shader(gl.FRAGMENT_SHADER, FRAGMENT));
  gl.bindAttribLocation(program, 0, "place");
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  gl.useProgram(program);
  return program;
}

// A grid of so many places over the footage, and about `margin` beyond it; `hollow` is without
// what lies over the footage.
function makeGrid(columns, rows, margin, hollow = false) {
  const left = Math.round(columns * margin), top = Math.round(rows * margin);
  const wide = columns + 2 * left, high = rows + 2 * top;
  const places = new Float32Array((wide + 1) * (high + 1) * 2);
  for (let y = 0, k = 0; y <= high; y++)
    for (let x = 0; x <= wide; x++) {
      places[k++] = (x - left) / columns;
      places[k++] = (y - top) / rows;
    }
  const faces = new Uint32Array((wide * high - (hollow ? columns * rows : 0)) * 6);
  for (let y = 0, k = 0; y < high; y++)
    for (let x = 0; x < wide; x++) {
      if (hollow && x >= left && x < left + columns && y >= top && y < top + rows) continue;
      const a = y * (wide + 1) + x, b = a + 1, c = a + wide + 1, d = c + 1;
      faces.set([a, c, b, b, c, d], k);
      k += 6;
    }
  const array = gl.createVertexArray();
  gl.bindVertexArray(array);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, places, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
  return { array, count: faces.length };
}

function film() {
  const text = atob(document.getElementById("layers").textContent.trim());
  const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
  const video = document.createElement("video");
  video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  video.muted = video.loop = video.playsInline = true;
  return video;
}

const camera = { yaw: 0, pitch: 0, away: 1, free: false };
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => a.map((v) => v / Math.hypot(...a));

function poseNow(video) {
  if (camera.free) {
    const yaw = camera.yaw * Math.PI / 180, pitch = camera.pitch * Math.PI / 180, r = camera.away;
    const eye = [Math.sin(yaw) * Math.cos(pitch) * r, Math.sin(pitch) * r, 1 - Math.cos(yaw) * Math.cos(pitch) * r];
    return [...eye, 0, 0, 1, told.fov];
  }
  const t = clamp(video.currentTime / told.seconds, 0, 1) * (told.path.length - 1);
  const k = Math.min(Math.floor(t), told.path.length - 2), part = t - k;
  return told.path[k].map((v, i) => v + (told.path[k + 1][i] - v) * part);
}

function angles(pose) {
  const [x, y, z] = [pose[0], pose[1], pose[2] - 1], away = Math.hypot(x, y, z);
  return { yaw: Math.atan2(x, -z) * 180 / Math.PI, pitch: Math.asin(y / away) * 180 / Math.PI, away };
}

function move(yaw, pitch, times) {
  if (!camera.free) Object.assign(camera, angles(poseNow(video)), { free: true });
  camera.yaw = clamp(camera.yaw + yaw, -told.maxYaw, told.maxYaw);
  camera.pitch = clamp(camera.pitch + pitch, -told.maxPitch, told.maxPitch);
  camera.away = clamp(camera.away * times, told.nearest, told.farthest);
  document.getElementById("path").setAttribute("aria-pressed", "false");
}

function follow() {
  camera.free = false;
  document.getElementById("path").setAttribute("aria-pressed", "true");
}

let video, place, grids;

function draw() {
  const pose = poseNow(video);
  const [w, h] = [canvas.width, canvas.height], longer = Math.max(w, h);
  const tangent = (fov) => Math.tan(fov * Math.PI / 360);
  const eye = pose.slice(0, 3);
  const forward = unit([pose[3] - eye[0], pose[4] - eye[1], pose[5] - eye[2]]);
  const right = unit(cross([0, 1, 0], forward)), up = cross(forward, right);
  const turn = [0, 1, 2].flatMap((k) => [right[k], up[k], forward[k]]);
  gl.viewport(0, 0, w, h);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.uniformMatrix3fv(place.turn, false, turn);
  gl.uniform3fv(place.eye, eye);
  gl.uniform2f(place.lens, longer / w / tangent(pose[6]), longer / h / tangent(pose[6]));
  gl.uniform2f(place.half_angle, w / longer * tangent(told.sourceFov), h / longer * tangent(told.sourceFov));
  for (const [side, drawn] of [[1, [grids.behind]], [0, [grids.near, grids.beyond]]]) {
    gl.uniform1f(place.side, side);
    for (const grid of drawn) {
      gl.bindVertexArray(grid.array);
      gl.drawElements(gl.TRIANGLES, grid.count, gl.UNSIGNED_INT, 0);
    }
    gl.clear(gl.DEPTH_BUFFER_BIT); // the near layer always comes before the one behind
  }
  const { yaw, pitch } = angles(pose);
  document.getElementById("where").textContent = `${yaw.toFixed(0)}° · ${pitch.toFixed(0)}°`;
}

function frame() {
  if (video.readyState >= 2) {
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, video);
    if (document.activeElement !== time) time.value = video.currentTime / (video.duration || 1);
    draw();
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
  }
  requestAnimationFrame(frame);
}

const time = document.getElementById("time");

function listen() {
  let held = null;
  canvas.addEventListener("pointerdown", (e) => { held = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", (e) => {
    if (!held) return;
    const turn = 2 * told.maxYaw / canvas.clientWidth;
    move(-(e.clientX - held[0]) * turn, (e.clientY - held[1]) * turn, 1);
    held = [e.clientX, e.clientY];
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => { held = null; });
  canvas.addEventListener("wheel", (e) => { e.preventDefault(); move(0, 0, Math.exp(e.deltaY * 0.001)); }, { passive: false });
  canvas.addEventListener("dblclick", follow);
  canvas.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: [-2, 0], ArrowRight: [2, 0], ArrowUp: [0, 2], ArrowDown: [0, -2] }[e.key];
    if (step) { e.preventDefault(); move(step[0], step[1], 1); }
  });
  document.getElementById("path").addEventListener("click", follow);
  const play = document.getElementById("play");
  play.addEventListener("click", () => (video.paused ? video.play() : video.pause()));
  video.addEventListener("play", () => { play.textContent = "Pause"; });
  video.addEventListener("pause", () => { play.textContent = "Play"; });
  time.addEventListener("input", () => { video.currentTime = time.value * video.duration; });
  time.addEventListener("change", () => time.blur());
}

function start() {
  if (!gl) throw new Error("this browser has no WebGL 2");
  const program = makeProgram();
  place = {};
  for (const name of ["turn", "eye", "lens", "half_angle", "side"]) place[name] = gl.getUniformLocation(program, name);
  video = film();
  video.addEventListener("error", () => { note.textContent = "This browser cannot play H.264 video."; });
  video.addEventListener("loadedmetadata", () => {
    canvas.width = video.videoWidth; // twice the footage: edges look smoother
    canvas.height = video.videoHeight;
    canvas.style.width = `min(100%, ${82 * canvas.width / canvas.height}vh)`;
    const [w, h] = [video.videoWidth >> 1, video.videoHeight >> 1];
    grids = {
      near: makeGrid(w, h, 0),
      beyond: makeGrid(w >> 1, h >> 1, NEAR_MARGIN, true),
      behind: makeGrid(w >> 1, h >> 1, MARGIN),
    };
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_MAG_FILTER, gl.LINEAR], [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]])
      gl.texParameteri(gl.TEXTURE_2D, name, value);
    gl.enable(gl.DEPTH_TEST);
    listen();
    requestAnimationFrame(frame);
    video.play().catch(() => { document.getElementById("play").textContent = "Play"; });
  }, { once: true });
}

try { start(); } catch (error) { note.textContent = `The page cannot show the video: ${error.message}`; }

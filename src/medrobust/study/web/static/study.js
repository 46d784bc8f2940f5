// The reader's screen: pictures, answers, and what is told to the server.

const LONGEST_WAIT = 8000; // milliseconds between two attempts to save
const VIEW_PAUSE = 2000; // milliseconds for which changes of the viewer are gathered
const TEXT_PAUSE = 700; // milliseconds after the last letter
const MOST_ZOOM = 20;
const MOVES = /^(Arrow|Page|Home|End| )/; // what a slider takes
const TYPED = "textarea, input[type=password], input[type=text]";

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const round = (value) => Math.round(value * 100) / 100;

// crypto.randomUUID exists on secure origins only, and a study may be read over a clinic's network
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// The personal link: its secret leaves the address before it is posted.

function enter(form) {
  const token = location.hash.slice(1);
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  form.elements.token.value = token;
  form.submit();
}

// Getting pages and pictures

async function get(url) {
  for (let wait = 500; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    try {
      const response = await fetch(url, { redirect: "follow" });
      if (response.status < 500) return response;
    } catch {
      // the server is away
    }
    await pause(wait);
  }
}

async function fetchCase(url) {
  const response = await get(url);
  if (!response.ok || new URL(response.url).pathname !== url) return null;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const pictures = await fetchPictures(page.querySelector("#case"));
  return pictures && { page, pictures };
}

async function fetchPictures(main) {
  const { url } = main.dataset;
  const deep = main.dataset.deep === "1";
  const [image, map] = await Promise.all([get(url + (deep ? "/deep" : "/image")), get(`${url}/map`)]);
  if (!image.ok || !map.ok) return null;
  const values = await decode(await image.blob(), deep);
  return { ...values, deep, map: URL.createObjectURL(await map.blob()) };
}

// Stored values: 8 bits of each colour; or 16 bits of grey, of which red is the high byte.
async function decode(blob, deep) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  if (!deep) return { values: data, most: 255 };
  const grey = new Uint16Array(data.length / 4);
  for (let i = 0; i < grey.length; i += 1) grey[i] = 256 * data[4 * i] + data[4 * i + 1];
  return { values: grey, most: 65535 };
}

// Saving: one event after the other, each until the server says that it has it.

class Outbox {
  #waiting = [];
  #busy = false;

  constructor(say) {
    this.say = say;
    this.form = "";
    this.settled = Promise.resolve(""); // when all that was sent so far is saved
  }

  get isEmpty() {
    return this.#waiting.length === 0;
  }

  send(url, kind, body = {}) {
    this.settled = new Promise((done) => {
      this.#waiting.push({ url: `${url}/events`, text: JSON.stringify({ id: newId(), kind, body }), done });
      if (!this.#busy) this.#empty();
    });
    return this.settled;
  }

  async #empty() {
    this.#busy = true;
    while (this.#waiting.length) {
      const { url, text, done } = this.#waiting[0];
      const refused = await this.#deliver(url, text);
      this.#waiting.shift();
      done(refused);
    }
    this.#busy = false;
  }

  // Resolves to "" when saved, else to why the server doesn't want it.
  async #deliver(url, text) {
    for (let wait = 250; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
      const headers = { "Content-Type": "application/json", "X-Form-Token": this.form };
      try {
        const response = await fetch(url, { method: "POST", body: text, headers, keepalive: true });
        if (response.ok) {
          await response.text();
          this.say("Saved");
          return "";
        }
        if (response.status === 401 || response.status === 403) await this.#renew(response.status);
        else if (response.status < 500) return this.#refused(response);
        else this.say("Not saved yet, trying again …", true);
      } catch {
        this.say("Not saved yet: no connection, trying again …", true);
      }
      await pause(wait);
    }
  }

  async #refused(response) {
    const { error } = await response.json().catch(() => ({ error: "" }));
    this.say("Not saved", true);
    return error || "This was not accepted.";
  }

  // A link opened once more, in another tab, makes a new session with another form token.
  async #renew(status) {
    if (status === 401) {
      this.say("Not saved yet: your session has ended. Open your link again in another tab.", true);
    }
    const page = await fetch("/read").then((response) => response.text()).catch(() => "");
    const found = new DOMParser().parseFromString(page, "text/html");
    this.form = found.querySelector(".leave [name=form]")?.value ?? this.form;
  }
}

// Time without any movement

class Watch {
  constructor(told) {
    this.told = told;
    this.limit = Infinity;
    this.last = Date.now();
    for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "scroll", "touchstart"]) {
      addEventListener(kind, () => this.move(), { capture: true, passive: true });
    }
  }

  start(seconds) {
    this.limit = 1000 * seconds;
    this.last = Date.now();
  }

  move() {
    const idle = Date.now() - this.last - this.limit;
    if (idle > 0) this.told(idle / 1000);
    this.last = Date.now();
  }
}

// The viewer: two panes with one window, zoom and place.

class Viewer {
  constructor(main, pictures, note) {
    this.main = main;
    this.pictures = pictures;
    this.note = note;
    this.size = [Number(main.dataset.width), Number(main.dataset.height)];
    this.panes = main.querySelector(".panes");
    this.views = [...main.querySelectorAll(".view")];
    this.canvases = [...main.querySelectorAll("canvas")];
    this.map = main.querySelector("img.map");
    this.map.src = pictures.map;
    this.hides = 0;
    this.pointers = new Map();
    this.restore(JSON.parse(main.dataset.view));
    this.listen();
    this.resizes = new ResizeObserver(() => this.place());
    this.views.forEach((view) => this.resizes.observe(view));
  }

  // State

  restore(view) {
    const whole = [this.pictures.most / 2, this.pictures.most];
    this.window = view.window ?? whole;
    this.zoom = view.zoom ?? 1;
    this.middle = view.pan ?? this.size.map((length) => length / 2);
    this.opacity = view.opacity ?? Number(this.main.querySelector("#opacity").value);
    this.hides = view.hidden ?? 0;
    this.show(view.layout ?? sessionStorage.getItem("layout") ?? "side", false);
    this.fade(this.opacity, false);
    this.draw();
    this.place();
  }

  reset() {
    this.window = [this.pictures.most / 2, this.pictures.most];
    this.zoom = 1;
    this.middle = this.size.map((length) => length / 2);
    this.fade(70);
    this.note("window", this.window);
    this.moved();
    this.draw();
  }

  get tool() {
    return this.main.querySelector("[name=tool]:checked").value;
  }

  use(tool) {
    const radio = this.main.querySelector(`[name=tool][value=${tool}]`);
    if (!radio) return;
    radio.checked = true;
    this.main.dataset.tool = tool;
    sessionStorage.setItem("tool", tool);
  }

  // Window and level

  setWindow(centre, width) {
    const { most } = this.pictures;
    this.window = [round(clamp(centre, 0, most)), round(clamp(width, most / 255, 2 * most))];
    this.note("window", this.window);
    this.draw();
  }

  shiftWindow(across, down) {
    const step = this.pictures.most / 400;
    this.setWindow(this.window[0] - down * step, this.window[1] + across * step);
  }

  draw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.paint();
    });
  }

  paint() {
    const { values, most, deep } = this.pictures;
    const table = new Uint8ClampedArray(most + 1);
    const low = this.window[0] - this.window[1] / 2;
    for (let value = 0; value <= most; value += 1) {
      table[value] = ((value - low) / this.window[1]) * 255;
    }
    const shown = new ImageData(...this.size);
    for (let i = 0; i < shown.data.length; i += 1) {
      if (i % 4 === 3) shown.data[i] = 255;
      else shown.data[i] = table[values[deep ? i >> 2 : i]];
    }
    for (const canvas of this.canvases) canvas.getContext("2d").putImageData(shown, 0, 0);
    const [centre, width] = this.window.map(Math.round);
    this.main.querySelector("#level").value = `Window ${width} at ${centre}`;
  }

  // Place

  scaleOf(view) {
    return Math.min(view.clientWidth / this.size[0], view.clientHeight / this.size[1]) * this.zoom;
  }

  place() {
    for (const view of this.views) {
      const scale = this.scaleOf(view);
      const x = view.clientWidth / 2 - this.middle[0] * scale;
      const y = view.clientHeight / 2 - this.middle[1] * scale;
      view.firstElementChild.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    }
    this.main.querySelector("#scale").value = `${Math.round(100 * this.zoom)}%`;
  }

  moved() {
    this.middle = this.middle.map((at, axis) => round(clamp(at, 0, this.size[axis])));
    this.note("zoom", round(this.zoom));
    this.note("pan", this.middle);
    this.place();
  }

  pan(view, across, down) {
    const scale = this.scaleOf(view);
    this.middle = [this.middle[0] - across / scale, this.middle[1] - down / scale];
    this.moved();
  }

  // Around a place of the screen, which stays where it is; around the middle without one.
  magnify(factor, view = null, at = null) {
    const before = view && this.pixel(view, at);
    this.zoom = clamp(this.zoom * factor, 1, MOST_ZOOM);
    if (before) {
      const after = this.pixel(view, at);
      this.middle = this.middle.map((place, axis) => place + before[axis] - after[axis]);
    }
    this.moved();
  }

  // The picture's pixel below a place of the screen
  pixel(view, at) {
    const box = view.getBoundingClientRect();
    const scale = this.scaleOf(view);
    const from = [box.left + view.clientWidth / 2, box.top + view.clientHeight / 2];
    return from.map((start, axis) => this.middle[axis] + (at[axis] - start) / scale);
  }

  // Map

  fade(percent, told = true) {
    this.opacity = clamp(Math.round(percent), 0, 100);
    this.main.querySelector("#opacity").value = this.opacity;
    this.map.style.opacity = this.opacity / 100;
    if (told) this.note("opacity", this.opacity);
  }

  hide(hidden) {
    if (hidden === this.map.classList.contains("hidden")) return;
    this.map.classList.toggle("hidden", hidden);
    this.main.querySelector("#hide").classList.toggle("held", hidden);
    if (hidden) this.note("hidden", (this.hides += 1));
  }

  show(layout, told = true) {
    this.panes.dataset.layout = layout;
    this.main.querySelector(`[name=layout][value=${layout}]`).checked = true;
    sessionStorage.setItem("layout", layout);
    if (told) this.note("layout", layout);
    this.place();
  }

  // Hands

  listen() {
    const on = (name, kind, act) => this.main.querySelector(name).addEventListener(kind, act);
    on("#opacity", "input", (event) => this.fade(Number(event.target.value)));
    on("#reset", "click", () => this.reset());
    on("#larger", "click", () => this.magnify(1.25));
    on("#smaller", "click", () => this.magnify(0.8));
    for (const kind of ["pointerdown", "pointerup", "pointerleave", "pointercancel", "blur"]) {
      on("#hide", kind, () => this.hide(kind === "pointerdown"));
    }
    on("#hide", "contextmenu", (event) => event.preventDefault());
    on("#hide", "keydown", (event) => [" ", "Enter"].includes(event.key) && this.hide(true));
    on("#hide", "keyup", () => this.hide(false));
    for (const radio of this.main.querySelectorAll("[name=layout]")) {
      radio.addEventListener("change", () => this.show(radio.value));
    }
    for (const radio of this.main.querySelectorAll("[name=tool]")) {
      radio.addEventListener("change", () => this.use(radio.value));
    }
    this.views.forEach((view) => this.touch(view));
  }

  touch(view) {
    view.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.magnify(1.0015 ** -event.deltaY, view, [event.clientX, event.clientY]);
    }, { passive: false });
    view.addEventListener("contextmenu", (event) => event.preventDefault());
    view.addEventListener("pointerdown", (event) => this.press(view, event));
    view.addEventListener("pointermove", (event) => this.drag(view, event));
    for (const kind of ["pointerup", "pointercancel"]) {
      view.addEventListener(kind, (event) => this.release(view, event, kind));
    }
  }

  press(view, event) {
    view.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const moves = event.button !== 0 || event.shiftKey;
    this.hand = this.pointers.size > 1 ? "pinch" : moves ? "pan" : this.tool;
    if (this.hand === "mark") this.marker?.begin(this.pixel(view, [event.clientX, event.clientY]));
    else this.marker?.cancel();
  }

  drag(view, event) {
    const from = this.pointers.get(event.pointerId);
    if (!from) return;
    const to = [event.clientX, event.clientY];
    const [across, down] = [to[0] - from[0], to[1] - from[1]];
    if (this.hand === "pinch") this.pinch(view, event.pointerId, to);
    this.pointers.set(event.pointerId, to);
    if (this.hand === "window") this.shiftWindow(across, down);
    if (this.hand === "pan") this.pan(view, across, down);
    if (this.hand === "mark") this.marker?.stretch(this.pixel(view, to));
  }

  pinch(view, moving, to) {
    const [other] = [...this.pointers].filter(([id]) => id !== moving).map(([, at]) => at);
    const from = this.pointers.get(moving);
    const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
    const middle = [(to[0] + other[0]) / 2, (to[1] + other[1]) / 2];
    this.pan(view, (to[0] - from[0]) / 2, (to[1] - from[1]) / 2);
    this.magnify(apart(to) / apart(from), view, middle);
  }

  release(view, event, kind) {
    this.pointers.delete(event.pointerId);
    if (this.hand !== "mark") return;
    if (kind === "pointerup") this.marker?.end(this.pixel(view, [event.clientX, event.clientY]));
    else this.marker?.cancel();
    this.hand = "";
  }

  // Arrow keys do what dragging does.
  arrow(across, down, far) {
    const step = far ? 5 : 1;
    if (this.tool === "window") this.shiftWindow(across * 8 * step, down * 8 * step);
    if (this.tool === "pan") this.pan(this.view, across * 20 * step, down * 20 * step);
    if (this.tool === "mark") this.marker?.move(across * step, down * step);
  }

  // One that is on the screen
  get view() {
    return this.views.at(-1);
  }

  close() {
    this.resizes.disconnect();
    cancelAnimationFrame(this.drawing);
    URL.revokeObjectURL(this.pictures.map);
  }
}

// A place in the image: a point, or a box between two corners.

class Marker {
  constructor(question, value, viewer, save) {
    this.question = question;
    this.isBox = question.dataset.shape === "box";
    this.viewer = viewer;
    this.save = save;
    this.value = value;
    this.corner = null;
    this.cursor = viewer.size.map((length) => length / 2);
    this.shows = false;
    this.draw();
  }

  inside(at) {
    return at.map((place, axis) => round(clamp(place, 0, this.viewer.size[axis])));
  }

  begin(at) {
    this.shows = false;
    this.corner = this.inside(at);
  }

  stretch(at) {
    this.cursor = this.inside(at);
    this.draw();
  }

  end(at) {
    this.cursor = this.inside(at);
    this.settle();
  }

  cancel() {
    this.corner = null;
    this.draw();
  }

  move(across, down) {
    this.shows = true;
    const step = this.viewer.size.map((length) => length / 100);
    this.cursor = this.inside([this.cursor[0] + across * step[0], this.cursor[1] + down * step[1]]);
    this.draw();
  }

  // With the keyboard: a point at once, a box by its two corners.
  press() {
    if (this.isBox && !this.corner) {
      this.corner = this.cursor;
      this.shows = true;
      this.draw();
    } else this.settle();
  }

  settle() {
    const place = this.isBox ? this.box() : { x: this.cursor[0], y: this.cursor[1] };
    this.corner = null;
    if (place) this.set(place);
    else this.draw();
  }

  box() {
    if (!this.corner) return null;
    const low = this.corner.map((at, axis) => Math.min(at, this.cursor[axis]));
    const high = this.corner.map((at, axis) => Math.max(at, this.cursor[axis]));
    const [w, h] = [round(high[0] - low[0]), round(high[1] - low[1])];
    return w > 0 && h > 0 ? { x: low[0], y: low[1], w, h } : null;
  }

  set(value) {
    this.value = value;
    this.shows = false;
    this.save(value);
    this.draw();
  }

  draw() {
    const shapes = [];
    if (this.value) shapes.push(this.shape(this.value, "mark"));
    if (this.corner && this.isBox && this.box()) shapes.push(this.shape(this.box(), "draft"));
    if (this.shows) shapes.push(this.shape({ x: this.cursor[0], y: this.cursor[1] }, "cursor"));
    for (const marks of this.viewer.main.querySelectorAll(".marks")) {
      marks.replaceChildren(...shapes.map((shape) => shape.cloneNode(true)));
    }
    this.question.querySelector(".marked").value = this.words();
    this.question.querySelector(".nowhere").setAttribute("aria-pressed", this.value === null);
  }

  words() {
    if (this.value === undefined) return this.shows ? "Press Enter to mark" : "Not marked";
    if (this.value === null) return "Nowhere in this image";
    return `Marked at ${Math.round(this.value.x)}, ${Math.round(this.value.y)}`;
  }

  shape(place, name) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const long = Math.max(...this.viewer.size) / 40;
    const { x, y, w, h } = place;
    const cross = `M${x - long} ${y}H${x - long / 4}M${x + long / 4} ${y}H${x + long}`
      + `M${x} ${y - long}V${y - long / 4}M${x} ${y + long / 4}V${y + long}`;
    made.setAttribute("d", w ? `M${x} ${y}h${w}v${h}h${-w}z` : cross);
    made.setAttribute("class", name);
    return made;
  }
}

// Questions and their answers

class Questions {
  constructor(main, viewer, save) {
    this.all = [...main.querySelectorAll(".question")];
    this.viewer = viewer;
    this.save = save;
    this.pending = new Map();
    this.answers = JSON.parse(main.dataset.answers);
    for (const question of this.all) this.listen(question);
  }

  answer(question, value) {
    this.answers[question.dataset.id] = value;
    this.save({ [question.dataset.id]: value });
  }

  listen(question) {
    const { kind } = question.dataset;
    if (kind === "scale") question.addEventListener("change", (event) => this.answer(question, Number(event.target.value)));
    if (kind === "presence") this.listenPresence(question);
    if (kind === "location") this.listenLocation(question);
    if (kind === "text") this.listenText(question);
  }

  listenPresence(question) {
    const sure = question.querySelector("[type=range]");
    const changed = () => {
      const chosen = question.querySelector(":checked");
      if (sure?.dataset.touched === "1") question.querySelector("output").value = sure.value;
      if (!chosen || sure?.dataset.touched === "0") return;
      const value = { present: chosen.value === "yes" };
      if (sure) value.confidence = Number(sure.value);
      const before = this.answers[question.dataset.id];
      const same = before?.present === value.present && before?.confidence === value.confidence;
      if (!same) this.answer(question, value);
    };
    question.addEventListener("change", changed);
    // a slider that is left where it was is an answer too, once it was pressed
    for (const kind of ["input", "pointerup", "keyup"]) {
      sure?.addEventListener(kind, (event) => {
        if (kind === "keyup" && !MOVES.test(event.key)) return; // such as of the key that led here
        sure.dataset.touched = "1";
        if (kind === "input") question.querySelector("output").value = sure.value;
        else changed();
      });
    }
  }

  listenLocation(question) {
    const marker = new Marker(question, this.answers[question.dataset.id], this.viewer, (value) => this.answer(question, value));
    question.querySelector(".mark").addEventListener("click", () => this.mark(marker));
    question.querySelector(".nowhere").addEventListener("click", () => marker.set(null));
    question.addEventListener("focusin", () => (this.viewer.marker = marker));
    this.viewer.marker ??= marker;
  }

  mark(marker) {
    this.viewer.marker = marker ?? this.viewer.marker;
    this.viewer.use("mark");
    this.viewer.view.focus();
    this.viewer.marker?.move(0, 0);
  }

  listenText(question) {
    const area = question.querySelector("textarea");
    const keep = () => {
      clearTimeout(this.pending.get(area));
      this.pending.delete(area);
      const text = area.value.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g, "");
      if (text !== (this.answers[question.dataset.id] ?? "")) this.answer(question, text);
    };
    area.addEventListener("input", () => {
      clearTimeout(this.pending.get(area));
      this.pending.set(area, setTimeout(keep, TEXT_PAUSE));
    });
    area.addEventListener("change", keep);
    this.keepers = [...(this.keepers ?? []), keep];
  }

  keep() {
    for (const keep of this.keepers ?? []) keep();
  }

  // The first that holds the reader
  get missing() {
    return this.all.find((question) => {
      const { id, kind, required } = question.dataset;
      if (required !== "1") return false;
      const value = this.answers[id];
      return kind === "location" ? value === undefined : value === undefined || value === null || value === "";
    });
  }

  // What a hot key is about: the question with the focus, else the first without an answer
  about(kind) {
    const those = this.all.filter((question) => question.dataset.kind === kind);
    const open = those.find((question) => !(question.dataset.id in this.answers));
    return those.find((question) => question.contains(document.activeElement)) ?? open ?? those[0];
  }

  choose(kind, value) {
    const radio = this.about(kind)?.querySelector(`[type=radio][value="${value}"]`);
    if (!radio) return;
    radio.focus();
    radio.click();
    if (kind === "presence") this.about(kind).querySelector("[type=range]")?.focus();
  }
}

// A case on the screen

class Case {
  constructor(main, pictures, room) {
    this.main = main;
    this.room = room;
    this.url = main.dataset.url;
    this.changes = {};
    room.outbox.form = main.dataset.form;
    this.viewer = new Viewer(main, pictures, (tool, value) => this.note(tool, value));
    this.questions = new Questions(main, this.viewer, (values) => this.send("answered", { values }));
    this.viewer.use(sessionStorage.getItem("tool") ?? "window");
    main.querySelector("#waiting").remove();
    main.classList.add("ready");
    this.listen();
    room.watch.start(Number(main.dataset.idle));
    this.after = this.begin();
  }

  // What comes after is fetched when all before is saved, so that it has its latest answers.
  async begin() {
    const refused = await this.send("shown");
    if (refused) location.replace("/read");
    return !refused && this.main.dataset.after ? fetchCase(this.main.dataset.after) : null;
  }

  async send(kind, body) {
    const refused = await this.room.outbox.send(this.url, kind, body);
    this.main.querySelector("#problem").textContent = refused;
    return refused;
  }

  note(tool, value) {
    this.changes[tool] = value;
    this.timer ??= setTimeout(() => this.flush(), VIEW_PAUSE);
  }

  flush() {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (Object.keys(this.changes).length) this.send("viewed", this.changes);
    this.changes = {};
  }

  listen() {
    this.main.querySelector("#back")?.addEventListener("click", () => this.back());
    this.main.querySelector("#questions").addEventListener("submit", (event) => {
      event.preventDefault();
      this.next();
    });
    document.querySelector("#over")?.addEventListener("close", (event) => {
      if (event.target.returnValue === "go") this.finish();
    });
    const keys = document.querySelector("#keys");
    keys.checked = sessionStorage.getItem("keys") !== "off";
    keys.addEventListener("change", () => sessionStorage.setItem("keys", keys.checked ? "on" : "off"));
  }

  keep() {
    this.questions.keep();
    this.flush();
  }

  back() {
    if (!this.main.dataset.before) return;
    this.keep();
    this.room.open(this.main.dataset.before);
  }

  next() {
    this.keep();
    const { missing } = this.questions;
    if (missing) {
      this.main.querySelector("#problem").textContent = `Please answer first: ${missing.querySelector("legend").firstChild.textContent}`;
      missing.focus();
      missing.scrollIntoView({ block: "nearest" });
      return;
    }
    const over = document.querySelector("#over");
    if (!over) this.finish();
    else if (!over.open) {
      over.returnValue = "";
      over.showModal();
    }
  }

  async finish() {
    if (this.finishing) return;
    this.finishing = true;
    this.finishing = !(await this.send("finished"));
    if (!this.finishing) return;
    if (this.main.dataset.after) this.room.open(this.main.dataset.after, this.after);
    else location.assign("/read");
  }

  close() {
    this.viewer.close();
  }
}

// Hot keys: whether one was pressed

function act(event, shown) {
  const { viewer, questions } = shown;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (key in arrows && !event.target.matches("input")) {
    viewer.arrow(...arrows[key], event.shiftKey);
    return true;
  }
  if (key === "Enter") return press(event, shown);
  const acts = {
    b: () => shown.back(),
    y: () => questions.choose("presence", "yes"),
    n: () => questions.choose("presence", "no"),
    t: () => questions.about("text")?.querySelector("textarea").focus(),
    m: () => questions.mark(),
    x: () => viewer.marker?.set(null),
    w: () => viewer.use("window"),
    p: () => viewer.use("pan"),
    v: () => viewer.show(viewer.panes.dataset.layout === "side" ? "over" : "side"),
    h: () => viewer.hide(true),
    r: () => viewer.reset(),
    ",": () => viewer.fade(viewer.opacity - 10),
    ".": () => viewer.fade(viewer.opacity + 10),
    "+": () => viewer.magnify(1.25),
    "=": () => viewer.magnify(1.25),
    "-": () => viewer.magnify(0.8),
  };
  if (/^[0-9]$/.test(key)) acts[key] = () => questions.choose("scale", key);
  acts[key]?.();
  return key in acts;
}

// Enter marks where the keyboard's cross is; else it goes on, unless what has the focus takes it.
function press(event, shown) {
  if (event.repeat || event.target.matches("button, a, summary, [type=checkbox]")) return false;
  const { marker, tool } = shown.viewer;
  if (tool === "mark" && marker?.shows && event.target.matches(".view")) marker.press();
  else shown.next();
  return true;
}

// The room: one case after the other, without loading the page anew.

class Room {
  constructor() {
    this.outbox = new Outbox((text, trouble) => this.say(text, trouble));
    this.watch = new Watch((seconds) => this.shown?.send("idle", { seconds }));
    addEventListener("keydown", (event) => this.key(event));
    addEventListener("keyup", (event) => event.key.toLowerCase() === "h" && this.shown?.viewer.hide(false));
    addEventListener("blur", () => this.shown?.viewer.hide(false));
    addEventListener("pageshow", (event) => event.persisted && location.reload());
    addEventListener("popstate", () => this.open(location.pathname, null, false));
    addEventListener("visibilitychange", () => document.hidden && this.shown?.keep());
    addEventListener("beforeunload", (event) => {
      const unsaved = !this.outbox.isEmpty || this.shown?.questions.pending.size;
      this.shown?.keep();
      if (unsaved) event.preventDefault();
    });
  }

  say(text, trouble = false) {
    const saved = document.querySelector("#saved");
    if (!saved) return;
    saved.textContent = text;
    saved.classList.toggle("trouble", trouble);
  }

  async begin() {
    const main = document.querySelector("#case");
    const pictures = await fetchPictures(main);
    if (pictures) this.shown = new Case(main, pictures, this);
    else location.replace("/read");
  }

  async open(url, fetched = null, isNew = true) {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    this.shown?.close();
    this.shown = null;
    document.querySelector("#case").classList.remove("ready");
    await this.outbox.settled;
    const found = (await fetched) ?? (await fetchCase(url));
    if (turn !== this.turn) return; // the reader was faster
    if (!found) {
      location.assign("/read");
      return;
    }
    document.title = found.page.title;
    document.body.replaceChildren(...found.page.body.childNodes);
    if (isNew) history.pushState(null, "", url);
    this.shown = new Case(document.querySelector("#case"), found.pictures, this);
    this.say("Saved");
    scrollTo(0, 0);
    document.querySelector("#where").focus({ preventScroll: true });
  }

  key(event) {
    const taken = event.ctrlKey || event.metaKey || event.altKey;
    if (!this.shown || taken || document.querySelector("dialog[open]")) return;
    if (event.target.matches(TYPED)) {
      if (event.key === "Escape") document.querySelector("#where").focus();
    } else if (document.querySelector("#keys").checked && act(event, this.shown)) {
      event.preventDefault();
    }
  }
}

const form = document.querySelector("#enter");
if (form) {
  enter(form);
  addEventListener("hashchange", () => enter(form));
}
if (document.querySelector("#case")) new Room().begin();

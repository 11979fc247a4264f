"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const data = (id) => (one("#" + id) ? JSON.parse(one("#" + id).textContent) : null);

  async function bytes(text) {
    const raw = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  const reveal = (within) => all(".scripted", within).forEach((part) => (part.hidden = false));

  async function utterance() {
    const info = data("relevance");
    if (!info || !info.shape[0]) return;
    const maps = new Int8Array((await bytes(info.windows)).buffer);
    const [count, bands, frames] = info.shape;
    const buttons = all(".letter");
    const canvas = one("#overlay"), context = canvas.getContext("2d");
    const sum = one("#sentence"), readout = one("#readout"), picture = one("#picture");
    const audio = one("#player audio"), section = one("#utterance");
    const idle = readout.innerHTML;
    const line = (kind) => {
      const mark = document.createElement("div");
      mark.className = kind; mark.hidden = true; picture.append(mark);
      return mark;
    };
    const before = line("seen"), after = line("seen"), step = line("mark"), found = line("mark found"), play = line("mark play");
    let pinned = -1, shown = -2, stopAt = Infinity;
    const tile = new OffscreenCanvas(frames, bands), ink = tile.getContext("2d");

    function draw(index) {
      if (index === shown) return;
      shown = index;
      context.clearRect(0, 0, canvas.width, canvas.height);
      buttons.forEach((button, i) => button.classList.toggle("current", i === index));
      const kind = one('input[name="overlay"]:checked').value;
      sum.style.visibility = index < 0 && kind === "sum" ? "visible" : "hidden";
      for (const mark of [before, after, step, found]) mark.hidden = index < 0;
      canvas.dataset.letter = index;
      if (index < 0) { readout.innerHTML = idle; reveal(readout); return; }
      const image = ink.createImageData(frames, bands), size = frames * bands, from = index * size;
      for (let i = 0; i < size; i++) {
        const value = maps[from + i], at = 4 * i;
        if (!value) continue;
        const colour = value > 0 ? info.positive : info.negative;
        image.data[at] = colour[0]; image.data[at + 1] = colour[1]; image.data[at + 2] = colour[2];
        image.data[at + 3] = (235 * Math.abs(value)) / info.levels;
      }
      ink.putImageData(image, 0, 0);
      context.imageSmoothingEnabled = false;
      context.drawImage(tile, info.starts[index], 0, frames * info.pooled, bands * info.pooled);
      const letter = info.letters[index], total = canvas.width;
      const first = Math.max(0, info.starts[index]), last = Math.min(total, info.starts[index] + info.window);
      before.style.left = "0"; before.style.width = (100 * first) / total + "%";
      after.style.left = (100 * last) / total + "%"; after.style.right = "0";
      step.style.left = letter.left + "%";
      found.hidden = letter.found === null;
      if (!found.hidden) found.style.left = letter.found + "%";
      readout.textContent = `${letter.name}, written at ${letter.seconds.toFixed(2)} s (step ${letter.step})` +
        (letter.verdict ? `, ${letter.verdict}` : "") + `. Score ${letter.score} above the mean of the others; ` +
        (found.hidden ? "" : `gradient finds it ${letter.offset} from the step's centre (dashed line); `) +
        `full colour at ±${info.limits[index].toPrecision(3)}. Veiled: what the step cannot see.`;
    }
    const rest = () => draw(pinned);
    function pin(index) {
      pinned = index;
      buttons.forEach((button, i) => {
        button.setAttribute("aria-pressed", i === index);
        if (index >= 0) button.tabIndex = i === index ? 0 : -1;
      });
      draw(index);
    }
    function hear(index) {
      if (!audio) return;
      const at = info.letters[index].seconds;
      audio.currentTime = Math.max(0, at - 0.3);
      stopAt = at + 0.3;
      audio.play().catch(() => {});
    }
    buttons.forEach((button, i) => {
      button.addEventListener("pointerenter", () => draw(i));
      button.addEventListener("focus", () => pin(i));
      button.addEventListener("click", () => { pin(i); hear(i); });
    });
    one(".letters").addEventListener("pointerleave", rest);
    one(".letters").addEventListener("keydown", (event) => {
      const here = buttons.indexOf(document.activeElement);
      const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: count - 1 }[event.key];
      if (event.key === "Escape") { pin(-1); return; }
      if (to === undefined || here < 0 || !buttons[to]) return;
      event.preventDefault();
      buttons[to].focus();
    });
    const nearest = (event) => {
      const box = picture.getBoundingClientRect(), at = (100 * (event.clientX - box.left)) / box.width;
      let best = 0;
      info.letters.forEach((letter, i) => {
        if (Math.abs(letter.left - at) < Math.abs(info.letters[best].left - at)) best = i;
      });
      return best;
    };
    picture.addEventListener("pointermove", (event) => draw(nearest(event)));
    picture.addEventListener("pointerleave", rest);
    picture.addEventListener("click", (event) => { const i = nearest(event); pin(i); hear(i); });
    all('input[name="overlay"]').forEach((radio) => radio.addEventListener("change", () => { pinned = -1; shown = -2; pin(-1); }));
    if (audio) {
      const follow = () => {
        play.hidden = false;
        play.style.left = (100 * audio.currentTime) / info.seconds + "%";
        if (audio.currentTime >= stopAt) { audio.pause(); stopAt = Infinity; }
        if (!audio.paused) requestAnimationFrame(follow);
      };
      audio.addEventListener("play", follow);
      audio.addEventListener("seeked", follow);
      audio.addEventListener("pause", () => { stopAt = Infinity; });
    }
    reveal(section);
    pin(-1);
    section.dataset.ready = "yes";
  }

  async function clusters() {
    const box = one("#stepper"), info = data("distances");
    if (!box || !info) return;
    const slider = one("#layer"), name = one("#layer-name"), radios = all('input[name="map"]');
    box.classList.add("stepping");
    reveal(box);
    function show() {
      const map = radios.find((radio) => radio.checked).value, layer = slider.value;
      name.textContent = info.layers[layer];
      slider.setAttribute("aria-valuetext", info.layers[layer]);
      all(".map", box).forEach((part) => {
        part.hidden = part.dataset.map !== map;
        one("h3", part).hidden = true;
        all("figure", part).forEach((figure) => (figure.hidden = figure.dataset.layer !== layer));
      });
      all("#curves circle").forEach((dot) => {
        const own = dot.closest("figure").dataset.key === map;
        dot.classList.toggle("here", own && dot.dataset.layer === layer);
      });
    }
    slider.addEventListener("input", show);
    radios.forEach((radio) => radio.addEventListener("change", show));
    all("#curves circle").forEach((dot) => dot.addEventListener("click", () => {
      const key = dot.closest("figure").dataset.key, radio = radios.find((it) => it.value === key);
      if (radio) radio.checked = true;
      slider.value = dot.dataset.layer;
      show();
    }));
    for (const [id, map] of Object.entries(info.maps)) {
      const figure = document.getElementById(id), svg = one("svg", figure), cell = one(".cell", figure);
      let values = null;
      svg.addEventListener("pointerenter", async () => { values ??= await bytes(map.cells); });
      svg.addEventListener("pointermove", (event) => {
        const frame = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / frame.width;
        const x = Math.floor(((event.clientX - frame.left) * scale - info.tree) / info.cell);
        const y = Math.floor(((event.clientY - frame.top) * scale) / info.cell), count = map.groups.length;
        const inside = values && x >= 0 && y >= 0 && x < count && y < count;
        cell.textContent = inside ? `${map.groups[y]} – ${map.groups[x]}: ${((values[y * count + x] * map.top) / 255).toPrecision(3)}.` : "";
      });
    }
    show();
    box.dataset.ready = "yes";
  }

  async function patterns() {
    const sets = data("pattern-data"), section = one("#patterns");
    if (!sets) return;
    const readout = one("#pattern-readout"), idle = readout.textContent, only = one("#pattern-only");
    const chosen = (name) => one(`input[name="${name}"]:checked`, section)?.value;
    const player = new Audio();
    let playing = null, drawn = 0;

    // The pictures are the numbers: one chunk of palette indices, each row after a zero (see pictures.py).
    async function indices(image) {
      const raw = Uint8Array.from(atob(image.src.split(",")[1]), (sign) => sign.charCodeAt(0));
      const view = new DataView(raw.buffer);
      for (let at = 8; at < raw.length; at += 12 + view.getUint32(at)) {
        if (String.fromCharCode(...raw.subarray(at + 4, at + 8)) !== "IDAT") continue;
        const part = raw.subarray(at + 8, at + 8 + view.getUint32(at));
        const stream = new Blob([part]).stream().pipeThrough(new DecompressionStream("deflate"));
        const rows = new Uint8Array(await new Response(stream).arrayBuffer());
        const width = view.getUint32(16), height = view.getUint32(20), found = new Uint8Array(width * height);
        for (let y = 0; y < height; y++) found.set(rows.subarray(y * (width + 1) + 1, (y + 1) * (width + 1)), y * width);
        return found;
      }
    }
    async function unpack(box, set) {
      const grand = await bytes(set.grand), shift = await bytes(set.shift);
      set.grand = Float32Array.from(grand, (value) => ((value - 128) / 127) * set.mean_limit);
      set.shift = Float32Array.from(shift, (value) => ((value - 128) / 127) * set.shift_limit);
      set.tiles = [];
      for (const item of all("li[data-index]", box)) {
        const image = one("img", item), index = +item.dataset.index, canvas = document.createElement("canvas");
        canvas.width = image.getAttribute("width"); canvas.height = image.getAttribute("height");
        canvas.setAttribute("aria-hidden", "true");
        const mask = set.masks[index] ? await bytes(set.masks[index]) : null;
        const tile = { item, canvas, mask, index, cells: await indices(image), context: canvas.getContext("2d", { willReadFrequently: true }) };
        tile.image = tile.context.createImageData(canvas.width, canvas.height);
        image.after(canvas);
        canvas.addEventListener("pointermove", (event) => say(set, tile, event));
        canvas.addEventListener("pointerleave", () => (readout.textContent = idle));
        set.tiles.push(tile);
      }
    }
    function value(set, tile, at) {
      const top = set.levels - 1, level = tile.cells[at] % set.levels;
      const pattern = ((2 * level) / top - 1) * set.limit;
      if (chosen("pattern-shown") === "mean") return pattern + set.grand[at];
      return chosen("pattern-average") === "counts" ? pattern + set.shift[at] : pattern;
    }
    function beyond(set, tile, at) {
      if (chosen("pattern-average") === "counts" && tile.mask) return (tile.mask[at >> 3] >> (7 - (at & 7))) & 1;
      return tile.cells[at] < set.levels;
    }
    function say(set, tile, event) {
      const frame = tile.canvas.getBoundingClientRect(), { width, height } = tile.canvas;
      const x = Math.min(width - 1, Math.floor(((event.clientX - frame.left) / frame.width) * width));
      const y = Math.min(height - 1, Math.floor(((event.clientY - frame.top) / frame.height) * height));
      const at = Math.max(0, y) * width + Math.max(0, x), ms = Math.round((x - set.anchor) * set.frame_ms);
      const mean = chosen("pattern-shown") === "mean";
      const sure = mean ? "" : beyond(set, tile, at) ? ", beyond chance" : ", no more than chance";
      readout.textContent = `${set.names[tile.index]} at ${set.hertz[height - 1 - y].toLocaleString("en")} Hz, ${ms > 0 ? "+" : ""}${ms} ms: ` +
        `${value(set, tile, at).toFixed(2)}${one("#pattern-only") ? sure : ""}.`.replace("-", "\u2212");
    }
    async function show() {
      const labels = chosen("pattern-labels") ?? Object.keys(sets)[0], mean = chosen("pattern-shown") === "mean";
      const counts = chosen("pattern-average") === "counts", mine = ++drawn;
      all('input[name="pattern-average"]', section).forEach((radio) => (radio.disabled = mean));
      if (only) only.disabled = mean;
      const boxes = all(".patternset", section);
      boxes.forEach((box) => (box.hidden = box.dataset.labels !== labels));
      const box = boxes.find((it) => it.dataset.labels === labels), set = sets[labels];
      set.ready ??= unpack(box, set);
      await set.ready;
      if (mine !== drawn) return;
      const limit = mean ? set.mean_limit : set.limit, top = set.levels - 1;
      one(".low", box).textContent = "\u2212" + limit.toFixed(2);
      one(".high", box).textContent = "+" + limit.toFixed(2);
      for (const tile of set.tiles) {
        const pixels = tile.image.data;
        for (let at = 0; at < tile.cells.length; at++) {
          let index = tile.cells[at], clear = index < set.levels;
          index %= set.levels;
          if (mean || counts) {
            const pattern = ((2 * index) / top - 1) * set.limit;
            const scaled = (pattern + (mean ? set.grand[at] : set.shift[at])) / limit;
            index = Math.round(((Math.min(1, Math.max(-1, scaled)) + 1) / 2) * top);
            if (counts && tile.mask) clear = (tile.mask[at >> 3] >> (7 - (at & 7))) & 1;
          }
          if (mean) clear = true;
          const colour = set.colours[clear ? index : only?.checked ? top / 2 : index + set.levels];
          pixels[4 * at] = colour[0]; pixels[4 * at + 1] = colour[1]; pixels[4 * at + 2] = colour[2];
          pixels[4 * at + 3] = 255;
        }
        tile.context.putImageData(tile.image, 0, 0);
      }
      section.dataset.drawn = [labels, mean ? "mean" : counts ? "counts" : "groups", only?.checked ? "only" : "all"].join(" ");
    }
    function stop() {
      playing?.classList.remove("playing");
      if (playing) playing.textContent = "\u25b6";
      playing = null;
    }
    player.addEventListener("ended", stop);
    all("li", section).forEach((item) => {
      const button = one(".hear", item), audio = one("audio", item);
      if (!button || !audio) return;
      audio.hidden = true;
      button.addEventListener("click", () => {
        const again = playing === button;
        stop();
        player.pause();
        if (again) return;
        playing = button;
        button.classList.add("playing");
        button.textContent = "\u25a0";
        player.src = audio.src;
        player.play().catch(stop);
      });
    });
    all(".patternset > h3", section).forEach((title) => (title.hidden = true));
    all("#pattern-controls input", section).forEach((input) => input.addEventListener("change", show));
    reveal(section);
    await show();
  }

  clusters();
  patterns().catch(() => {
    all("#pattern-controls, #pattern-readout").forEach((part) => (part.hidden = true));
    all(".patternset, .patternset > h3").forEach((part) => (part.hidden = false));
  });
  utterance().catch(() => {
    const readout = one("#readout");
    readout.textContent += " This browser cannot unpack the maps of single letters; a newer one can.";
  });
})();

// Replaces each static figure by a plotly figure of the same data; without it the images stay.
(async () => {
  if (!document.getElementById("plotly") || !("DecompressionStream" in window)) return;
  function unpacked(id) {
    const packed = document.getElementById(id).textContent.trim();
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }
  const script = document.createElement("script");
  script.textContent = await unpacked("plotly");
  document.head.append(script);
  const plots = JSON.parse(await unpacked("plots"));

  const NARROW = 620; // pixels below which panels stand below one another
  const SIGNS = { o: "●", s: "■", "^": "▲", D: "◆", v: "▼", P: "✚", X: "✖", "*": "★", p: "⬟", x: "×",
                  "|": "|", "<": "◀", ">": "▶", ".": "•" };
  const config = {
    responsive: true, displaylogo: false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };
  const make = (tag, options = {}) => Object.assign(document.createElement(tag), options);

  const plain = (text) => text.replace(/<br>/g, " ").replace(/<[^>]*>/g, "");
  // Chinese, Japanese and Korean characters are almost twice as wide as others.
  const breadth = (text) => text.replace(/[\u2e80-\uffef]/g, "xx").length;
  const wrapped = (text, length) =>
    text.replace(/(\w-)<br>/g, "$1").replace(/<br>| +/g, " ").replace(new RegExp(`(.{1,${Math.max(8, Math.floor((length * text.length) / (breadth(text) || 1)))}})( |$)`, "g"), "$1<br>").replace(/<br>$/, "");

  // A coloured text, its first line alone.
  const inLines = (text, length) =>
    text.replace(/^(<[^>]+>)?(.*?)(<[^>]+>)?$/, (_, open = "", words, close = "") => {
      const [first, ...rest] = words.split("<br>");
      return [open + first, ...rest.length ? [wrapped(rest.join("<br>"), length)] : []].join("<br>") + close;
    });

  // One panel below the other, each as wide as the page, with long names of rows above their marks.
  function stack(layout, width) {
    const across = (key) => layout[key.replace("y", "x")];
    const span = ([low, high]) => Math.abs(high - low);
    const longest = ({ ticktext = [] }) => Math.max(0, ...ticktext.map((text) => breadth(plain(text))));
    const axes = Object.keys(layout).filter((key) => /^yaxis/.test(key));
    const panels = axes.filter((key) => !layout[key].overlaying);
    const bars = panels.filter((key) => layout[key].visible && !across(key).visible);
    const main = panels.filter((key) => !bars.includes(key));
    const over = (key) => axes.filter((other) => layout[other].overlaying === key.replace("axis", ""));
    const row = (key) => Math.round(50 * layout[key].domain[1]);
    main.sort((a, b) => row(b) - row(a) || across(a).domain[0] - across(b).domain[0]);
    const shared = layout.annotations.find((note) => note.yref === "paper" && !note.textangle);
    layout.annotations = layout.annotations.filter((note) => note.yref !== "paper" || note.textangle);
    for (const note of layout.annotations) {
      if (note.textangle) note.xshift = -14; // into the margin: beside it are the labels of ticks
      else if (note.y === 1) note.font.size = Math.min(14, (1.55 * (width - 70)) / plain(note.text).length);
    }
    const edge = 1 - 84 / width; // of a colour bar: beside it are its ticks and its title
    const before = layout.height, end = bars.length ? edge - 0.09 : over(main[0]).length ? 1 - 80 / width : 0.98;
    let used = 0;
    const places = main.map((key) => {
      const axis = layout[key], x = across(key), columns = x.ticktext?.length;
      const named = axis.ticktext?.some((text) => /\p{L}{2}/u.test(plain(text)));
      const place = { key, axis, x, columns, rows: named && longest(axis) > 8, table: named && x.side === "top" };
      if (place.table) {
        x.ticktext = x.ticktext.map((text) => wrapped(text.replaceAll("_", "_ "), width / columns / 8).replaceAll("_ ", "_"));
        x.tickangle = 0;
      }
      // Names that do not fit beside each other are turned.
      const turned = !place.table && columns * (longest(x) + 2) * 8 > 0.8 * width ? 7 * longest(x) : 0;
      place.pixels = before * span(axis.domain);
      if (!axis.visible) { // pictures keep their shape
        Object.assign(axis, { scaleanchor: axis.anchor, constrain: "domain" });
        x.constrain = "domain";
        place.top = used;
        place.high = ((end - 64 / width) * width * span(axis.range)) / span(x.range);
        used += place.high + 10;
        return place;
      }
      place.top = used + (place.table ? 90 : 30);
      place.high = place.rows ? 2.4 * place.pixels : Math.max(bars.length ? 230 : 175, named ? place.pixels : 0);
      const title = (x.title.text || (shared?.text ?? "")).replace(/ {2,}/g, "\u2003").split("<br>");
      x.title.text = title.map((line) => wrapped(line, width / 8.6)).join("<br>");
      used = place.top + place.high + Math.max(65, 30 + 18 * x.title.text.split("<br>").length) + turned;
      return place;
    });
    const share = (pixels) => 1 - pixels / used;
    layout.height = used;
    for (const { key, axis, x, columns, rows, table, pixels, top, high } of places) {
      const name = key.replace("axis", "");
      let right = end;
      for (const other of [key, ...over(key)]) {
        layout[other].domain = [share(top + high), share(top)];
        layout[other].showticklabels = other === key ? !rows : longest(layout[other]) < 12;
        if (other === key || layout[other].showticklabels) continue;
        right = 0.98;
        layout[other].ticktext.forEach((text, i) => layout.annotations.push({
          text: inLines(text, width / 7.5), x: 0.98, xref: "paper", xanchor: "right", align: "right",
          y: layout[other].tickvals[i], yref: other.replace("axis", ""), yanchor: "top", yshift: -8,
          showarrow: false, font: { size: 11.5 }, bgcolor: "rgba(255,255,255,0.8)",
        }));
      }
      Object.assign(x, { domain: [rows ? 0.02 : 64 / width, right], showticklabels: true });
      if (!rows) continue;
      for (const note of table ? layout.annotations.filter(({ yref }) => yref === name) : []) {
        note.text = wrapped(note.text, width / columns / 6.2);
        note.font.size = Math.min(note.font.size, (1.4 * width) / columns / Math.max(...note.text.split("<br>").map((line) => line.length)));
      }
      const up = Math.sign(axis.range[1] - axis.range[0]);
      axis.ticktext.forEach((text, i) => {
        const lines = text.split("<br>").length;
        const words = wrapped(text, width / 8.4);
        // Further lines go down, for above is the end of the row before.
        const low = 16 * Math.max(0, words.split("<br>").length - Math.min(lines, 2));
        layout.annotations.push({
          text: words, x: 0.02, xref: "paper", yref: name, xanchor: "left", align: "left",
          y: axis.tickvals[i] + up * (table ? 0.5 : (9 * lines * span(axis.range)) / pixels),
          yanchor: table ? "top" : "bottom", yshift: table ? 0 : -15 - low, showarrow: false, font: { size: 12.5 }, bgcolor: "rgba(255,255,255,0.8)",
        });
      });
    }
    for (const key of bars) {
      layout[key].domain = [share(places.at(-1).top + places.at(-1).high), share(places[0].top)];
      across(key).domain = [edge - 0.04, edge];
    }
  }

  function layoutOf(figure, width) {
    const layout = structuredClone(figure.layout);
    if (width < NARROW) stack(layout, width);
    for (const key of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) {
      layout[key] = { gridcolor: "#E3E3E3", linecolor: "#444", showline: true, ticks: "outside", ...layout[key] };
      layout[key].tickfont = { size: 12.5 };
      layout[key].title.standoff = 8;
    }
    layout.height += 20; // for the buttons, which else cover a title or a label
    return Object.assign(layout, {
      font: { family: '"DejaVu Sans", system-ui, sans-serif', size: 13.5, color: "#000" },
      margin: { l: 14, r: 0, t: 28, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest", dragmode: false,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "#999", activecolor: "#000" },
      hoverlabel: { bgcolor: "#fff", font: { color: "#000", size: 13 }, align: "left" },
    });
  }

  function swatch(entry) {
    if (entry.patch) return `<rect width="30" height="10" y="2" fill="${entry.patch}"/>`;
    const dash = entry.dash === "solid" ? "" : `stroke-dasharray="${entry.dash}"`;
    const line = entry.color
      ? `<path d="M0 7H30" stroke="${entry.color}" stroke-width="2.2" ${dash}/>` : "";
    const mark = entry.symbol
      ? `<text x="15" y="12" text-anchor="middle" font-size="14" paint-order="stroke"
          fill="${entry.fill}" stroke="${entry.edge}">${SIGNS[entry.symbol]}</text>` : "";
    return line + mark;
  }

  // Filled contours as heights that can be turned, beside or, on a phone, below each other.
  function raised(data, layout, width) {
    const contours = data.filter((trace) => trace.type === "contour"), count = contours.length;
    const stacked = width < NARROW, far = stacked ? 2 : 1.6;
    const solid = { ...layout, height: stacked ? 340 * count : 480, annotations: [], shapes: [], images: [] };
    for (const key of Object.keys(solid)) if (/^[xy]axis/.test(key)) delete solid[key];
    const surfaces = contours.map((trace, i) => {
      const scene = `scene${i ? i + 1 : ""}`;
      const axis = (name) => {
        const { title, type, tickvals, ticktext } = layout[`${name}axis${trace[`${name}axis`].slice(1)}`];
        return { title: { text: title.text }, type, ...(tickvals ? { tickvals, ticktext } : {}) };
      };
      const domain = stacked ? { x: [0, 1], y: [1 - (i + 1) / count, 1 - i / count] }
        : { x: [i / count, (i + 1) / count], y: [0, 1] };
      const title = layout.annotations.find((note) => note.xref === `${trace.xaxis} domain` && note.y === 1);
      if (title) {
        solid.annotations.push({ ...title, xref: "paper", yref: "paper", x: domain.x[0], y: domain.y[1], yanchor: "top" });
      }
      solid[scene] = {
        domain,
        xaxis: axis("x"), yaxis: axis("y"),
        zaxis: { ...trace.meta.height, range: [trace.zmin, trace.zmax] },
        aspectmode: "cube", camera: { eye: { x: -far, y: -far, z: 1.1 } },
      };
      return { type: "surface", scene, x: trace.x, y: trace.y, z: trace.z, text: trace.text,
               colorscale: trace.colorscale, cmin: trace.zmin, cmax: trace.zmax, showscale: false,
               hovertemplate: trace.hovertemplate };
    });
    return [surfaces, solid];
  }

  function show(frame) {
    const { frames, slider } = plots[frame.closest("figure").id.replace("figure-", "")];
    const plot = frame.querySelector(".plot"), traces = frames.flatMap((figure) => figure.data);
    const names = new Set(traces.flatMap((trace) => trace.meta.series));
    const seeds = [...new Set(traces.flatMap((trace) => trace.meta.seeds ?? []))].sort((a, b) => a - b);
    // Single seeds are drawn at once only where the static figure has them.
    const drawn = traces.some((trace) => "seeds" in trace.meta && !trace.meta.hidden);
    const series = new Set(names), picked = new Set(drawn ? seeds : []), solid = new Set();
    const toggles = [];
    let shown = frames.length - 1;

    function visible(trace) {
      const { series: of, seeds: own } = trace.meta;
      if (!of.every((name) => series.has(name))) return { ...trace, visible: false };
      if (own === undefined || (trace.meta.hidden && drawn)) return { ...trace, visible: !trace.meta.hidden };
      if (!Array.isArray(own)) return { ...trace, visible: picked.has(own) };
      const kept = (value, i) => (picked.has(own[i]) ? value : null);
      return { ...trace, x: trace.x.map(kept), y: trace.y.map(kept) };
    }

    function draw() {
      const figure = frames[shown];
      let data = figure.data.map(visible), layout = layoutOf(figure, frame.clientWidth);
      if (solid.size) [data, layout] = raised(data, layout, frame.clientWidth);
      plot.style.height = `${layout.height}px`;
      for (const { button, set, keys } of toggles) {
        button.setAttribute("aria-pressed", String(keys.every((key) => set.has(key))));
      }
      return Plotly.react(plot, data, layout, config);
    }

    // A button that takes keys into a set when it is pressed, and out of it again.
    function toggle(text, set, keys) {
      const button = make("button", { type: "button", textContent: text });
      button.dataset.label = text;
      toggles.push({ button, set, keys });
      button.onclick = () => {
        const pressed = keys.every((key) => set.has(key));
        for (const key of keys) set[pressed ? "delete" : "add"](key);
        draw();
      };
      return button;
    }

    const legend = make("div", { className: "legend" });
    const entries = new Map(frames.flatMap((f) => f.legend).reverse().map((e) => [e.label, e]));
    for (const entry of [...entries.values()].reverse()) {
      const { label } = entry;
      const item = names.has(label) ? toggle(label, series, [label]) : make("span", { textContent: label });
      item.insertAdjacentHTML("afterbegin",
        `<svg width="30" height="14" aria-hidden="true" fill="none">${swatch(entry)}</svg>`);
      legend.append(item);
    }
    plot.before(legend);
    if (seeds.length > 1) {
      const row = make("div", { className: "legend chips", role: "group", ariaLabel: "Single seeds" });
      row.append(make("span", { textContent: "Single seeds:" }), toggle("all", picked, seeds));
      row.append(...seeds.map((seed) => toggle(String(seed + 1), picked, [seed])));
      plot.before(row);
    }
    if (traces.some((trace) => trace.type === "contour")) {
      const row = make("div", { className: "legend chips" });
      row.append(toggle("Heights in 3-D (drag to turn)", solid, ["3-D"]));
      plot.before(row);
    }
    if (frames.length > 1) {
      const label = make("label", { className: "slider" });
      const name = make("span");
      const range = make("input", { type: "range", min: 0, max: frames.length - 1, value: shown });
      const describe = () => {
        name.textContent = `${slider}: ${frames[shown].name}`;
        range.ariaValueText = frames[shown].name; // read out in place of the position
      };
      describe();
      range.oninput = () => {
        shown = Number(range.value);
        describe();
        draw();
      };
      label.append(name, range);
      plot.before(label);
    }
    frame.classList.add("drawn");
    let width = frame.clientWidth;
    addEventListener("resize", () => {
      if ((width < NARROW) !== (frame.clientWidth < NARROW)) draw();
      width = frame.clientWidth;
    });
    return draw();
  }

  const observer = new IntersectionObserver((found) => {
    for (const { target, isIntersecting } of found) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      show(target);
    }
  }, { rootMargin: "800px" });
  document.querySelectorAll(".frame:has(.plot)").forEach((frame) => observer.observe(frame));
})();
// The page may be sent without its folder, so a picture is saved from the page itself.
for (const link of document.querySelectorAll("a[download]")) {
  link.onclick = () => {
    const canvas = document.createElement("canvas"), picture = link.closest("figure").querySelector("img");
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    link.href = canvas.toDataURL();
  };
}
for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.onclick = async () => {
    const code = button.parentElement.querySelector("code");
    let copied = true;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch { // a browser that gives pages from disk no clipboard
      getSelection().selectAllChildren(code);
      copied = document.execCommand("copy");
    }
    button.textContent = copied ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { button.textContent = "Copy"; }, 3000);
  };
}

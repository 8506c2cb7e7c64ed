// Replaces each static figure by a plotly figure of the same data; without it the images stay.
(async () => {
  const packed = document.getElementById("plotly");
  if (!packed || !("DecompressionStream" in window)) return;
  const bytes = Uint8Array.from(atob(packed.textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);

  const NARROW = 620; // pixels below which panels stand below one another
  const SIGNS = { o: "●", s: "■", "^": "▲", D: "◆", v: "▼", P: "✚", X: "✖", "*": "★", x: "×",
                  "|": "|", "<": "◀", ">": "▶", ".": "•" };
  const config = {
    responsive: true, displaylogo: false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };
  const make = (tag, options = {}) => Object.assign(document.createElement(tag), options);

  // One panel below the other, each as wide as the page.
  function stack(layout) {
    const axes = Object.keys(layout).filter((key) => /^yaxis/.test(key));
    const main = axes.filter((key) => !layout[key].overlaying);
    const left = (key) => layout[key.replace("y", "x")].domain[0];
    main.sort((a, b) => layout[b].domain[1] - layout[a].domain[1] || left(a) - left(b));
    layout.height = 270 * main.length;
    layout.annotations = layout.annotations.filter((note) => note.yref !== "paper" || note.textangle);
    main.forEach((key, i) => {
      const top = 1 - (i * 270 + 30) / layout.height, low = 1 - (i * 270 + 215) / layout.height;
      for (const other of axes) {
        if (other === key || layout[other].overlaying === key.replace("axis", "")) {
          layout[other].domain = [low, top];
          layout[other].showticklabels = true;
        }
      }
      const across = layout[key.replace("y", "x")];
      Object.assign(across, { domain: [0.17, axes.length > main.length ? 0.86 : 0.98], showticklabels: true });
    });
  }

  function layoutOf(figure, width) {
    const layout = structuredClone(figure.layout);
    if (width < NARROW && !figure.fixed) stack(layout);
    for (const key of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) {
      layout[key] = { gridcolor: "#E3E3E3", linecolor: "#444", showline: true, ticks: "outside", ...layout[key] };
      layout[key].tickfont = { size: 12.5 };
      layout[key].title.standoff = 6;
    }
    return Object.assign(layout, {
      font: { family: '"DejaVu Sans", system-ui, sans-serif', size: 13.5, color: "#000" },
      margin: { l: 0, r: 0, t: 8, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)",
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

  function show(frame) {
    const { frames, slider } = JSON.parse(frame.querySelector("script").textContent);
    const plot = frame.querySelector(".plot"), hidden = new Set();
    let shown = frames.length - 1;
    const draw = () => {
      const figure = frames[shown];
      const data = figure.data.map((trace) => (
        { ...trace, visible: !trace.meta.some((label) => hidden.has(label)) }));
      const layout = layoutOf(figure, frame.clientWidth);
      plot.style.height = `${layout.height}px`;
      return Plotly.react(plot, data, layout, config);
    };
    const legend = make("div", { className: "legend" });
    const toggles = new Map();
    for (const entry of frames.flatMap((figure) => figure.legend)) {
      if (toggles.has(entry.label)) continue;
      const used = frames.some((f) => f.data.some((trace) => trace.meta.includes(entry.label)));
      const item = make(used ? "button" : "span", { textContent: entry.label });
      item.insertAdjacentHTML("afterbegin",
        `<svg width="30" height="14" aria-hidden="true" fill="none">${swatch(entry)}</svg>`);
      if (used) {
        item.type = "button";
        item.dataset.label = entry.label;
        item.setAttribute("aria-pressed", "true");
        item.onclick = () => {
          if (!hidden.delete(entry.label)) hidden.add(entry.label);
          item.setAttribute("aria-pressed", String(!hidden.has(entry.label)));
          draw();
        };
      }
      toggles.set(entry.label, item);
      legend.append(item);
    }
    plot.before(legend);
    if (frames.length > 1) {
      const label = make("label", { className: "slider" });
      const name = make("span", { textContent: `${slider}: ${frames[shown].name}` });
      const range = make("input", { type: "range", min: 0, max: frames.length - 1, value: shown });
      range.oninput = () => {
        shown = Number(range.value);
        name.textContent = `${slider}: ${frames[shown].name}`;
        draw();
      };
      label.append(name, range);
      plot.before(label);
    }
    frame.classList.toggle("wide", frames.some((figure) => figure.fixed));
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
for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.onclick = async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
  };
}

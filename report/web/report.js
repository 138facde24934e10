// Draws what the page's "pictures" hold: curves (with uPlot where the page has it, else plainly), heat maps and histograms.
// Text goes in as text, never as markup: it comes from documents that nobody vouches for.
(() => {
  "use strict";
  const pictures = JSON.parse(document.getElementById("pictures").textContent);
  const colors = ["#1f77d0", "#e07b00", "#2a9d4a", "#c23b3b", "#8a5bc7", "#8c6a4f", "#d657a8", "#5f6b78", "#a6a400", "#17a2b8",
    "#3b5bdb", "#e8590c"];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const svgns = "http://www.w3.org/2000/svg";

  const make = (tag, parent, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    if (parent) parent.append(element);
    return element;
  };
  const draw = (tag, parent, attributes, text) => {
    const element = document.createElementNS(svgns, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };

  // 1234567 as 1.23M.
  const short = (value) => {
    if (value === null || !isFinite(value)) return "";
    const size = Math.abs(value);
    for (const [unit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (size >= unit) return Number((value / unit).toPrecision(3)) + letter;
    return String(Number(value.toPrecision(3)));
  };

  // vCPUs are counted, not rounded to thousands.
  const count = (value) => value === null ? "" : String(value < 10 ? Number(value.toPrecision(3)) : Math.round(value));

  const legend = (parent, entries) => {
    const list = make("div", parent, undefined, "legend");
    for (const [color, text] of entries) {
      const entry = make("span", list);
      make("i", entry).style.background = color;
      entry.append(text);
    }
  };

  // Powers of `base` between two values; every second, third, ... where they are many.
  const powers = (low, high, base) => {
    const first = Math.ceil(Math.log(low) / Math.log(base) - 1e-9), last = Math.floor(Math.log(high) / Math.log(base) + 1e-9);
    const step = Math.max(1, Math.ceil((last - first + 1) / 11));
    const ticks = [];
    for (let power = first; power <= last; power += step) ticks.push(base ** power);
    // Between two powers there may be none to read a value by.
    return ticks.length > 1 ? ticks : [0, 1, 2, 3, 4].map((i) => low * (high / low) ** (i / 4));
  };
  const even = (high) => {
    const rough = high / 5, unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * unit).find((each) => each >= rough);
    const ticks = [];
    for (let i = 0; i <= 12 && i * step <= high * 1.0001; ++i) ticks.push(i * step);
    return ticks;
  };

  // A frame with axes; gives the functions that place a value. x is logarithmic, y begins at 0.
  const frame = (parent, box, base) => {
    const width = 560, height = 300, left = 62, right = 20, top = 10, bottom = 44;
    const svg = draw("svg", parent, { viewBox: `0 0 ${width} ${height}`, role: "img" });
    const scale = Math.log(box.x1 / box.x0) || 1;
    const x = (value) => left + (width - left - right) * Math.log(value / box.x0) / scale;
    const y = (value) => height - bottom - (height - top - bottom) * value / box.y1;
    for (const tick of even(box.y1)) {
      draw("line", svg, { x1: left, x2: width - right, y1: y(tick), y2: y(tick), stroke: "var(--line)" });
      draw("text", svg, { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick));
    }
    for (const tick of powers(box.x0, box.x1, base))
      draw("text", svg, { x: x(tick), y: height - bottom + 17, "text-anchor": "middle" }, box.xtext(tick));
    draw("text", svg, { x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, box.xlabel);
    draw("text", svg, { x: 0, y: 0, "text-anchor": "middle",
      transform: `translate(13 ${(height - bottom + top) / 2}) rotate(-90)` }, box.ylabel);
    return { svg, x, y, bottom: height - bottom };
  };

  const plain_curves = (parent, chart) => {
    const xs = [], ys = [];
    for (const series of chart.series) {
      for (const [n, , , high] of series.points) { xs.push(n); ys.push(high); }
      for (const [n, value] of series.curve) { xs.push(n); ys.push(value); }
    }
    const { svg, x, y } = frame(parent, { x0: Math.min(...xs), x1: Math.max(...xs), y1: Math.max(...ys) * 1.05, xlabel: chart.x,
      ylabel: chart.y, xtext: count }, 2);
    chart.series.forEach((series, i) => {
      const color = colors[i % colors.length];
      if (series.curve.length)
        draw("polyline", svg, { fill: "none", stroke: color, "stroke-width": 2,
          points: series.curve.map(([n, value]) => `${x(n).toFixed(1)},${y(value).toFixed(1)}`).join(" ") });
      for (const [n, median, low, high] of series.points) {
        draw("line", svg, { x1: x(n), x2: x(n), y1: y(low), y2: y(high), stroke: color, "stroke-width": 1.5 });
        draw("circle", svg, { cx: x(n), cy: y(median), r: 3.5, fill: color });
      }
    });
    legend(parent, chart.series.map((series, i) => [colors[i % colors.length], series.name]));
  };

  const uplot_curves = (parent, chart) => {
    const xs = [...new Set(chart.series.flatMap((series) => [...series.points, ...series.curve].map(([n]) => n)))].sort((a, b) => a - b);
    const at = new Map(xs.map((n, i) => [n, i]));
    const column = (pairs) => {
      const values = new Array(xs.length).fill(null);
      for (const [n, value] of pairs) values[at.get(n)] = value;
      return values;
    };
    const data = [xs], series = [{ label: chart.x, value: (u, v) => v === null ? "" : count(v) }];
    chart.series.forEach((each, i) => {
      const color = colors[i % colors.length];
      data.push(column(each.points));
      series.push({ label: each.name, stroke: color, paths: () => null, points: { show: true, size: 8, fill: color },
        value: (u, v) => v === null ? "" : short(v) });
      if (each.curve.length) {
        data.push(column(each.curve));
        series.push({ label: each.name + " (fit)", stroke: color, width: 2, points: { show: false }, spanGaps: true,
          value: (u, v) => v === null ? "" : short(v) });
      }
    });
    const range_of_repetitions = (u) => {
      u.ctx.save();
      u.ctx.lineWidth = 2;
      chart.series.forEach((each, i) => {
        u.ctx.strokeStyle = colors[i % colors.length];
        for (const [n, , low, high] of each.points) {
          const x = u.valToPos(n, "x", true);
          u.ctx.beginPath();
          u.ctx.moveTo(x, u.valToPos(low, "y", true));
          u.ctx.lineTo(x, u.valToPos(high, "y", true));
          u.ctx.stroke();
        }
      });
      u.ctx.restore();
    };
    const top = Math.max(...chart.series.flatMap((each) => [...each.points.map((p) => p[3]), ...each.curve.map((p) => p[1])]));
    const axis = { stroke: () => css("--dim"), grid: { stroke: () => css("--line"), width: 1 }, ticks: { stroke: () => css("--line") } };
    const plot = new uPlot({
      width: Math.max(300, parent.clientWidth), height: 320, series,
      scales: { x: { time: false, distr: 3, log: 2 }, y: { range: [0, top * 1.05] } },
      axes: [{ ...axis, label: chart.x, values: (u, ticks) => ticks.map((v) => v === null || Math.log2(v) % 1 ? "" : count(v)) },
        { ...axis, label: chart.y, size: 64, values: (u, ticks) => ticks.map(short) }],
      hooks: { draw: [range_of_repetitions] },
    }, data, parent);
    addEventListener("resize", () => plot.setSize({ width: Math.max(300, parent.clientWidth), height: 320 }));
  };

  const curve = (parent, chart) => {
    const figure = make("figure", parent);
    make("figcaption", figure, `${chart.title}: throughput over vCPUs`);
    (window.uPlot ? uplot_curves : plain_curves)(make("div", figure, undefined, "chart"), chart);
    make("div", figure, "Points: median of the repetitions. Bars: all of them. Lines: the fitted law.", "dim");
    for (const series of chart.series.filter((each) => each.knee)) {
      const [knee, low, high] = series.knee;
      make("div", figure, `Knee of ${series.name}: ${count(knee)} vCPUs (${count(low)} to ${high === null ? "no bound" : count(high)})`, "dim");
    }
    if (chart.left_out) make("div", figure, `${chart.left_out} more configurations are in the tables only.`, "dim");
  };

  // Dark blue over green to yellow; grows in lightness all the way, so it can be read without colours.
  const stops = [[38, 12, 74], [56, 66, 135], [41, 118, 142], [34, 163, 132], [122, 203, 82], [250, 231, 55]];
  const shade = (level) => {
    const place = (level - 1) / 254 * (stops.length - 1), i = Math.min(stops.length - 2, Math.floor(place)), share = place - i;
    return stops[i].map((from, channel) => Math.round(from + share * (stops[i + 1][channel] - from)));
  };
  const palette = Array.from({ length: 256 }, (_, level) => level === 0 ? [0, 0, 0, 0] : [...shade(level), 255]);
  const paint = (canvas, levels, columns, rows) => {
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
    for (let i = 0; i < levels.length; ++i) image.data.set(palette[levels[i]], 4 * i);
    context.putImageData(image, 0, 0);
  };
  const map = (parent, one) => {
    const figure = make("figure", parent);
    make("figcaption", figure, one.title + (one.unit ? ` (${one.unit})` : ""));
    if (!one.rows) return make("div", figure, "Nothing was measured.", "dim");
    const levels = Uint8Array.from(atob(one.levels), (letter) => letter.charCodeAt(0));
    const value = (level) => one.low * (one.high / one.low) ** ((level - 1) / 254);
    const box = make("div", figure, undefined, "map");
    make("div", box, "row: from vCPU", "side");
    const canvas = make("canvas", box);
    paint(canvas, levels, one.columns, one.rows);
    const below = make("div", box, undefined, "below");
    make("span", below, "0");
    make("span", below, "column: to vCPU");
    make("span", below, String(one.vcpus - 1));
    const scale = make("div", figure, undefined, "scale");
    make("span", scale, short(one.low) + " or less");
    paint(make("canvas", scale), Uint8Array.from({ length: 255 }, (_, i) => i + 1), 255, 1);
    make("span", scale, `${short(one.high)} or more ${one.unit}`);
    const told = make("div", figure, one.block > 1 ? `Each dot is the mean of ${one.block} x ${one.block} vCPUs.` : "Each dot is a pair; empty ones were not measured.", "dim");
    canvas.addEventListener("mousemove", (event) => {
      const column = Math.floor(event.offsetX / canvas.clientWidth * one.columns), row = Math.floor(event.offsetY / canvas.clientHeight * one.rows);
      const level = levels[row * one.columns + column];
      if (level === undefined) return;
      told.textContent = `vCPU ${row * one.block} to ${column * one.block}: ` + (level ? `about ${short(value(level))} ${one.unit}` : "not measured");
    });
  };

  const histogram = (parent, one) => {
    const figure = make("figure", parent);
    make("figcaption", figure, one.repetitions > 1 ? `${one.title}, ${one.repetitions} repetitions` : one.title);
    const counts = one.counts, bounds = one.bounds;
    let first = counts.findIndex((count) => count > 0), last = counts.findLastIndex((count) => count > 0);
    if (first < 0) return make("div", figure, "No samples.", "dim");
    // A bucket that begins at 0 has no place on a logarithmic axis but its end's.
    const low = bounds[first] > 0 ? bounds[first] : bounds[first + 1] / 2, high = bounds[last + 1];
    const { svg, x, y, bottom } = frame(make("div", figure, undefined, "chart"),
      { x0: low, x1: Math.max(high, low * 1.01), y1: counts.reduce((a, b) => Math.max(a, b), 1), xlabel: one.unit, ylabel: "samples",
        xtext: short },
      high / low > 50 ? 10 : 2);
    for (let i = first; i <= last; ++i) {
      if (!counts[i]) continue;
      const left = x(Math.max(bounds[i], low)), right = x(bounds[i + 1]);
      const bar = draw("rect", svg, { x: left, width: Math.max(1, right - left - 0.5), y: y(counts[i]), height: Math.max(1, bottom - y(counts[i])),
        fill: colors[0] });
      draw("title", bar, {}, `${short(bounds[i])} to ${short(bounds[i + 1])} ${one.unit}: ${counts[i]}`);
    }
  };

  // One picture after the other, so that the page's text is there at once and stays responsive.
  const queue = [];
  const work = () => {
    const end = performance.now() + 30;
    while (queue.length && performance.now() < end) queue.shift()();
    if (queue.length) setTimeout(work, 0);
    else {
      // For whoever tests the page: when something was seen first, in milliseconds, where that was before the end, and that all is drawn.
      const painted = performance.getEntriesByType("paint")[0];
      if (painted) document.documentElement.dataset.painted = Math.round(painted.startTime);
      document.documentElement.dataset.drawn = "yes";
    }
  };
  const place = (id, items, drawer) => {
    const parent = document.getElementById(id);
    if (!items.length) {
      parent.previousElementSibling.remove();
      parent.remove();
    }
    for (const item of items) queue.push(() => drawer(parent, item));
  };
  for (const run of pictures) {
    place(`${run.prefix}-curves`, run.curves, curve);
    place(`${run.prefix}-maps`, run.maps, map);
    place(`${run.prefix}-histograms`, run.histograms, histogram);
  }
  setTimeout(work, 0);
})();

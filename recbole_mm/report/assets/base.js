"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const main = data.rows.filter((row) => !row.of);
const colourOf = new Map(data.rows.map((row, k) => [row.label, k % 8]));
// dashes tell lines apart where colours do not
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];

/** An element with attributes and children; text is never read as HTML. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  if (chosen !== undefined) select.value = chosen;
}

const number = (value, digits = 4) =>
  value === null || value === undefined || Number.isNaN(value) ? "–" : Number(value).toFixed(digits);

/** Text as plotly shows it: a tag in it stays text. */
const plain = (text) => String(text).replaceAll("<", "‹");

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (label) => style(`--c${colourOf.get(label) ?? 7}`);

/** A table of what a figure shows. */
function tableOf(head, body, caption) {
  const cells = (line) => line.map((cell, k) => (k ? make("td", {}, String(cell)) : make("th", { scope: "row" }, String(cell))));
  return make("table", {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head.map((cell) => make("th", { scope: "col" }, cell)))),
    make("tbody", {}, ...body.map((line) => make("tr", {}, ...cells(line)))));
}

/** plotly, unpacked at the first figure that comes near the window. */
let unpacked;
function plotly() {
  unpacked ??= (async () => {
    const packed = Uint8Array.from(atob(byId("plotly").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    document.head.append(make("script", {}, await new Response(stream).text()));
    return window.Plotly;
  })();
  return unpacked;
}

const drawn = new Map();
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
}, { rootMargin: "400px" });

async function draw(box) {
  const library = await plotly().catch(() => null);
  if (!drawn.has(box)) return;
  if (!library) { box.textContent = "This browser is too old for the figure; the table below holds its numbers."; return; }
  const { traces, layout } = drawn.get(box)();
  const line = { gridcolor: style("--line"), zerolinecolor: style("--line"), linecolor: style("--line"), automargin: true };
  const legend = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 13 } };
  await library.react(box, traces, {
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: style("--ink") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 12, r: 12, t: 8, b: 12 },
    dragmode: false, legend, hoverlabel: { font: { color: style("--ink") }, bgcolor: style("--card"), bordercolor: style("--soft") },
    ...layout, xaxis: { ...line, ...layout.xaxis }, yaxis: { ...line, ...layout.yaxis },
  }, { displayModeBar: false, responsive: true });
}

/** A figure with its caption, its words for who cannot see it, and its numbers as a table. */
function figure({ title, under = "", says, build, head, body, tall = false }) {
  const box = make("div", { class: tall ? "plot tall" : "plot", role: "img", "aria-label": says });
  drawn.set(box, build);
  seen.observe(box);
  const numbers = head && make("details", {}, make("summary", {}, "Numbers"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Numbers of ${title}` }, tableOf(head, body, title)));
  return make("figure", { class: "card" },
    make("figcaption", {}, title, make("span", { class: "soft small" }, under ? ` ${under}` : "")), box, numbers);
}

function show(place, figures) {
  for (const box of place.querySelectorAll(".plot")) { seen.unobserve(box); drawn.delete(box); if (window.Plotly) window.Plotly.purge(box); }
  place.replaceChildren(...figures);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const box of drawn.keys()) if (box.classList.contains("js-plotly-plot")) draw(box);
});

/** Curves and settings of a model. */
(() => {
  const pick = byId("model-pick");
  fill(pick, data.rows.map((row, k) => [k, row.label]));
  const differing = new Set();
  for (const row of data.rows) for (const key of Object.keys(row.settings))
    if (data.rows.some((other) => other.settings[key] !== row.settings[key])) differing.add(key);

  function curve(row, title, series, axis) {
    const body = series.flatMap(({ name, x, y }) => x.map((epoch, k) => [epoch, name, number(y[k])]).filter((line) => line[2] !== "–"));
    const last = series.map(({ name, y }) => `${name}: ${number(y[0])} to ${number(y.at(-1))}`).join("; ");
    return figure({
      title, says: `${title} of ${row.label} by epoch. ${last}`, head: ["epoch", "line", "value"], body,
      build: () => ({
        traces: series.map(({ name, x, y }, k) => ({
          x, y, name: plain(name), mode: x.length > 1 ? "lines" : "markers", connectgaps: true,
          line: { color: style(`--c${k % 8}`), width: 2, dash: DASHES[k % DASHES.length] }, marker: { color: style(`--c${k % 8}`), size: 8 },
        })),
        layout: { xaxis: { title: { text: "epoch" }, rangemode: "tozero" }, yaxis: { title: { text: axis } }, showlegend: series.length > 1 },
      }),
    });
  }

  function present() {
    const row = data.rows[Number(pick.value)], figures = [];
    const scored = row.curves.filter((each) => each.valid.some((value) => value !== null));
    if (scored.length)
      figures.push(curve(row, "Validation", scored.map((c) => ({ name: `seed ${c.seed}`, x: c.epoch, y: c.valid })), String(data.valid_metric).toLowerCase()));
    const terms = [...new Set(row.curves.flatMap((each) => Object.keys(each.terms)))];
    for (const term of terms)
      figures.push(curve(row, terms.length > 1 ? `Loss: ${term}` : "Training loss", row.curves.filter((c) => c.terms[term]).map((c) => ({ name: `seed ${c.seed}`, x: c.epoch, y: c.terms[term] })), "mean over batches"));
    if (!figures.length) figures.push(make("p", { class: "soft" }, "This model has no epochs to draw."));
    show(byId("model-plots"), figures);
    const entries = Object.entries(row.settings);
    const facts = [["model", row.model], ...(row.parameters ? [["parameters", row.parameters.toLocaleString("en")]] : []), ...entries];
    byId("model-settings").replaceChildren(...facts.map(([key, value]) =>
      make("div", differing.has(key) ? { class: "differs" } : {}, make("dt", {}, key), make("dd", {}, value))));
    const said = [...Object.entries(row.errors).map(([seed, text]) => `seed ${seed} failed: ${text}`), ...row.remarks];
    byId("model-remarks").replaceChildren(...(said.length ? [make("ul", { class: "notes small" }, ...said.map((line) => make("li", {}, line)))] : []));
  }
  pick.addEventListener("change", present);
  pick.value = String(Math.max(0, data.rows.findIndex((row) => row.label === data.best)));
  present();
})();

/** Bars: one for each model at each place. */
function bars({ title, under, places, ticks = places, series, axis, tall }) {
  const head = ["", ...series.map((each) => each.name)];
  const body = places.map((place, k) => [place, ...series.map((each) => number(each.y[k]))]);
  const says = `${title}. ` + body.map((line) => `${line[0]}: ` + series.map((each, k) => `${each.name} ${line[k + 1]}`).join(", ")).join("; ");
  return figure({
    title, under, says, head, body, tall,
    build: () => ({
      traces: series.map((each) => ({
        type: "bar", name: plain(each.name), x: ticks, y: each.y, marker: { color: each.colour() },
        error_y: each.error ? { type: "data", array: each.error, color: style("--soft"), thickness: 1.2, width: 3 } : undefined,
        hovertemplate: "%{y:.4f}<extra>%{fullData.name}</extra>",
      })),
      layout: { barmode: "group", bargap: 0.25, bargroupgap: 0.06, yaxis: { title: { text: axis } }, xaxis: { type: "category", fixedrange: true }, showlegend: series.length > 1 },
    }),
  });
}

/** Groups of users and items. */
(() => {
  if (!byId("groups")) return;
  const pick = byId("groups-metric"), names = { cold: "Cold and warm items", popularity: "Head and tail items", history: "Length of the user's history", domain: "Domains", modality: "Items without a modality", "cold start": "Held-out items" };
  const grouped = main.filter((row) => row.groups.length);
  const columns = data.columns.map((each) => each.key).filter((key) => grouped.some((row) => row.groups.some((g) => g.metrics[key])));
  fill(pick, columns.map((key) => [key, key]));

  function present() {
    const metric = pick.value, kinds = [...new Set(grouped.flatMap((row) => row.groups.map((g) => g.group)))];
    show(byId("groups-plots"), kinds.map((kind) => {
      const rows = grouped.filter((row) => row.groups.some((g) => g.group === kind && g.metrics[metric]));
      const places = [...new Map(rows.flatMap((row) => row.groups.filter((g) => g.group === kind && g.metrics[metric]).map((g) => [g.value, g.queries])))];
      const of = (row, value) => row.groups.find((g) => g.group === kind && g.value === value)?.metrics[metric];
      return bars({
        title: names[kind] ?? kind, under: `${metric}; n is the number of users`, axis: metric,
        places: places.map(([value, queries]) => `${value} (${queries.toLocaleString("en")})`),
        ticks: places.map(([value, queries]) => `${plain(value)}<br>n = ${queries.toLocaleString("en")}`),
        series: rows.map((row) => ({
          name: row.label, colour: () => colour(row.label), y: places.map(([value]) => of(row, value)?.mean ?? null),
          error: places.map(([value]) => of(row, value)?.std ?? 0),
        })),
      });
    }));
  }
  pick.addEventListener("change", present);
  present();
})();

/** Each model beside its controls, and the curve over masked features. */
(() => {
  if (!byId("controls")) return;
  const metric = data.headline, figures = [];
  for (const parent of main) {
    const controls = data.rows.filter((row) => row.of === parent.label && row.control && row.values[metric]);
    if (controls.length) {
      const group = [parent, ...controls], value = (row) => row.values[metric];
      figures.push(bars({
        title: parent.label, under: `${metric}, 95 % interval over queries`, axis: metric,
        places: group.map((row) => row.control ?? "complete"),
        series: [{ name: parent.label, colour: () => colour(parent.label), y: group.map((row) => value(row)?.mean ?? null), error: group.map((row) => (value(row)?.low === undefined ? 0 : value(row).mean - value(row).low)) }],
      }));
    }
    const masked = data.rows.filter((row) => row.of === parent.label && row.missing !== null && row.values[metric]).sort((a, b) => a.missing - b.missing);
    if (masked.length) {
      const points = [...(masked[0].missing === 0 ? [] : [parent]), ...masked], x = points.map((row) => 100 * (row.missing ?? 0)), y = points.map((row) => row.values[metric]?.mean ?? null);
      figures.push(figure({
        title: `${parent.label} with features masked`, says: `${metric} by share of masked features: ` + x.map((share, k) => `${share} %: ${number(y[k])}`).join("; "),
        head: ["masked", metric], body: x.map((share, k) => [`${share} %`, number(y[k])]),
        build: () => ({ traces: [{ x, y, mode: "lines+markers", line: { color: colour(parent.label), width: 2 }, marker: { size: 8 } }], layout: { xaxis: { title: { text: "% of the items without features" }, rangemode: "tozero" }, yaxis: { title: { text: metric } }, showlegend: false } }),
      }));
    }
  }
  show(byId("controls-plots"), figures);
})();

/** Published figures beside ours. */
(() => {
  if (!byId("published")) return;
  const figures = [];
  for (const [name, columns] of Object.entries(data.published)) {
    const rows = main.filter((row) => row.published[name] !== undefined);
    if (!rows.length) continue;
    const series = [{ name: `published ${name.toUpperCase()}`, colour: () => style("--c7"), y: rows.map((row) => row.published[name]) }];
    columns.forEach((column, k) => series.push({ name: `ours, ${column}`, colour: () => style(`--c${k}`), y: rows.map((row) => row.values[column]?.mean ?? null) }));
    figures.push(bars({ title: name.toUpperCase(), under: "as published, and ours", axis: "", places: rows.map((row) => row.label), ticks: rows.map((row) => plain(row.label)), series }));
  }
  show(byId("published-plots"), figures);
})();

/** All rows by epoch: validation, the loss of all on one scale, then each loss term; the mean over the seeds that reached an epoch. */
(() => {
  const mean = (curves, read) => {
    const epochs = [...new Set(curves.flatMap((curve) => curve.epoch))].sort((a, b) => a - b);
    return epochs.map((epoch) => {
      const values = curves.map((curve) => read(curve)?.[curve.epoch.indexOf(epoch)]).filter((value) => typeof value === "number");
      return [epoch, values.reduce((sum, value) => sum + value, 0) / values.length];
    }).filter(([, value]) => !Number.isNaN(value));
  };
  function panel(title, axis, read) {
    const lines = data.rows.map((row) => [row.label, mean(row.curves, read)]).filter(([, points]) => points.length);
    if (!lines.length) return null;
    return figure({
      title, says: `${title} by epoch. ` + lines.map(([name, points]) => `${name}: ${number(points[0][1])} to ${number(points.at(-1)[1])}`).join("; "),
      head: ["epoch", "model", "value"], body: lines.flatMap(([name, points]) => points.map(([epoch, value]) => [epoch, name, number(value)])),
      build: () => ({
        traces: lines.map(([name, points], k) => ({
          name: plain(name), x: points.map(([epoch]) => epoch), y: points.map(([, value]) => value), mode: points.length > 1 ? "lines" : "markers",
          line: { color: colour(name), width: 2, dash: DASHES[Math.floor(k / 8) % DASHES.length] }, marker: { color: colour(name), size: 8 },
        })),
        layout: { xaxis: { title: { text: "epoch" }, rangemode: "tozero" }, yaxis: { title: { text: axis } }, showlegend: lines.length > 1 },
      }),
    });
  }
  // losses of different kinds have no common height: each by its own first epoch
  const relative = (curve) => {
    const total = curve.epoch.map((_, k) => Object.values(curve.terms).reduce((sum, values) => sum + (values[k] ?? 0), 0));
    return total.length > 1 && total[0] > 0 ? total.map((value) => value / total[0]) : undefined;
  };
  const several = data.rows.filter((row) => row.curves.some(relative)).length > 1;
  const terms = [...new Set(data.rows.flatMap((row) => row.curves.flatMap((curve) => Object.keys(curve.terms))))];
  const figures = [panel("Validation", String(data.valid_metric).toLowerCase(), (curve) => curve.valid), several && panel("Training loss of every model", "share of its first epoch's", relative), ...terms.map((term) => panel(term === "loss" ? "Training loss" : `Loss: ${term}`, "mean over batches", (curve) => curve.terms[term]))].filter(Boolean);
  show(byId("curves"), figures.length ? figures : [make("p", {}, "No model here has epochs to draw.")]);
})();

/** One user: history and two models' lists side by side. */
(() => {
  if (!byId("users")) return;
  const SHOWN = 10, pick = byId("user-pick"), sides = [byId("user-a"), byId("user-b")], place = byId("user-lists");
  const models = data.rows.map((row) => row.label).filter((label) => data.people.some((person) => person.lists[label]));
  const hits = (person, label) => (person.lists[label] ?? []).filter((item) => person.held.includes(item)).length;
  const counted = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;

  fill(pick, data.people.map((p, k) => [k, `${p.user}${p.domain ? ` · ${p.domain}` : ""} (${counted(p.seen, "item")})`]));
  const second = models.includes(data.reference) && data.reference !== data.best ? data.reference : models.find((label) => label !== data.best);
  for (const [k, side] of sides.entries()) fill(side, models.map((label) => [label, label]), k ? second ?? models[0] : models.includes(data.best) ? data.best : models[0]);
  // begin with a user for whom the two differ, with a list that can be read at a glance
  const gap = (p) => (p.held.length > 15 ? -100 : 0) + hits(p, sides[0].value) - hits(p, sides[1].value) + 0.01 * hits(p, sides[1].value);
  pick.value = data.people.reduce((best, p, k) => (gap(p) > gap(data.people[best]) ? k : best), 0);

  function entry(item, held) {
    const [title, category, domain, picture] = data.items[item], hit = held?.includes(item);
    return make("li", hit ? { class: "hit" } : {},
      picture ? make("img", { src: picture, alt: "", loading: "lazy" }) : make("span", { class: "blank" }),
      make("span", { class: "what" }, title, make("span", { class: "sort" }, [category, domain].filter(Boolean).join(" · "))),
      hit ? make("span", { class: "badge" }, "✓ hit") : null);
  }

  function list(title, under, items, held) {
    const heading = make("h3", {}, title, make("span", { class: "soft small" }, ` ${under}`));
    return make("div", {}, heading, make("ol", { class: "items", "aria-label": title }, ...items.map((item) => entry(item, held))));
  }

  function present() {
    const person = data.people[Number(pick.value)], [a, b] = sides.map((side) => side.value);
    const told = [...new Set([a, b])].map((label) => `${label} finds ${hits(person, label)}`);
    byId("user-says").textContent =
      `User ${person.user}${person.domain ? ` in ${person.domain}` : ""} has ${counted(person.seen, "item")} before the test and took ${person.held.length} in it: ${told.join(", ")} in its first ${Math.max(...[a, b].map((l) => person.lists[l]?.length ?? 0))}.`;
    const shown = person.history.slice(0, SHOWN);
    const columns = [list("History", `${person.in_time ? "the latest " : ""}${shown.length} of ${person.seen}`, shown)];
    for (const label of [a, b])
      columns.push(person.lists[label] ? list(label, counted(hits(person, label), "hit"), person.lists[label], person.held) : make("p", {}, `${label} has no list for this user.`));
    place.replaceChildren(...columns);
    const found = new Set([a, b].flatMap((label) => person.lists[label] ?? []));
    byId("user-held").replaceChildren(...person.held.map((item) => {
      const hit = found.has(item), title = data.items[item][0];
      return make("li", hit ? { class: "hit" } : {}, title, hit ? make("span", { class: "badge" }, " ✓ hit") : null);
    }));
  }

  const step = (by) => { pick.selectedIndex = (pick.selectedIndex + by + pick.options.length) % pick.options.length; present(); };
  byId("user-back").addEventListener("click", () => step(-1));
  byId("user-next").addEventListener("click", () => step(1));
  for (const each of [pick, ...sides]) each.addEventListener("change", present);
  present();
})();

/** The items on two principal components. */
(() => {
  if (!byId("map")) return;
  const pick = byId("map-model"), by = byId("map-colour"), CATEGORIES = 7;
  const labels = Object.keys(data.maps);
  fill(pick, labels.map((label) => [label, label]), labels.includes(data.best) ? data.best : labels[0]);
  const fields = [["category", 1], ["domain", 2]].filter(([, at]) => data.items.some((item) => item[at]));
  fill(by, fields.length ? fields.map(([name, at]) => [at, name]) : [[0, "nothing"]], fields.at(-1)?.[1]);

  function present() {
    const plane = data.maps[pick.value], at = Number(by.value), kind = (item) => (at ? data.items[item][at] || "unknown" : "items");
    const counts = new Map();
    for (const item of plane.item) counts.set(kind(item), (counts.get(kind(item)) ?? 0) + 1);
    const order = [...counts].sort((a, b) => b[1] - a[1]).map(([name]) => name);
    const named = order.filter((name) => name !== "unknown").slice(0, CATEGORIES), rest = order.length > named.length;
    const groups = [...(rest ? ["others"] : []), ...named];
    const member = (name) => plane.item.map((_, k) => k).filter((k) => (named.includes(kind(plane.item[k])) ? kind(plane.item[k]) : "others") === name);
    const percent = plane.share.map((share) => `${(100 * share).toFixed(0)} %`);
    show(byId("map-plot"), [figure({
      title: pick.value, under: `${plane.item.length.toLocaleString("en")} items; the axes hold ${percent.join(" and ")} of the variance`, tall: true,
      says: `Scatter of ${plane.item.length} items of ${pick.value}. ` + groups.map((name) => `${name}: ${member(name).length}`).join(", "),
      head: ["group", "items", "mean x", "mean y"],
      body: groups.map((name) => { const ks = member(name), mean = (values) => number(ks.reduce((sum, k) => sum + values[k], 0) / ks.length, 3); return [name, ks.length, mean(plane.x), mean(plane.y)]; }),
      build: () => ({
        traces: groups.map((name) => {
          const ks = member(name), k = named.indexOf(name);
          return {
            type: "scatter", mode: "markers", name: plain(name), x: ks.map((i) => plane.x[i]), y: ks.map((i) => plane.y[i]), text: ks.map((i) => plain(data.items[plane.item[i]][0])),
            hovertemplate: "%{text}<extra>%{fullData.name}</extra>",
            marker: { size: 7, opacity: k < 0 ? 0.35 : 0.8, color: k < 0 ? style("--soft") : style(`--c${k}`), symbol: k < 0 ? "circle" : ["circle", "diamond", "square", "triangle-up", "cross", "star", "x"][k] },
          };
        }),
        layout: { hovermode: "closest", xaxis: { showticklabels: false, zeroline: false, constrain: "domain" }, yaxis: { showticklabels: false, zeroline: false, scaleanchor: "x" } },
      }),
    })]);
    const inner = byId("map-plot").querySelector("figure");
    inner.className = "";
  }
  for (const each of [pick, by]) each.addEventListener("change", present);
  present();
})();

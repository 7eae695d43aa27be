"""A comparison as Markdown. Pure: from records to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from recbole_mm.errors import count
from recbole_mm.report.paired import PairedTest, headline_p, is_labelled, named_pairs
from recbole_mm.report.statistics import (
    best_text,
    mean_seconds,
    order_sentences,
    reference_row,
    relative_change,
    spread,
)
from recbole_mm.report.text import caption_text, duration, figure, interval, mark, p_text, percent
from recbole_mm.run.comparison import Comparison, RowResult
from recbole_mm.run.key import keys_that
from recbole_mm.run.metric import smaller_is_better

CAP_MARK, PART_MARK = "†", "‡"


def best_figure(rows: Sequence[RowResult], column: str) -> str | None:
    """The best mean of the rows as it is displayed."""
    return best_text((found.mean for row in rows if (found := spread(row.values(column)))), column)


def _metric_cells(
    row: RowResult,
    columns: Sequence[str],
    best: dict[str, str | None],
    marks: Mapping[str, str] | None = None,
) -> list[str]:
    cells = []
    for column in columns:
        found = spread(row.values(column))
        cell = figure(row.values(column), found is not None and f"{found.mean:.4f}" == best.get(column))
        cells.append(f"{cell} {sign}" if (sign := (marks or {}).get(column)) else cell)
    return cells


def marks_of(
    row: RowResult, against: RowResult | None, columns: Sequence[str], tests: Sequence[PairedTest]
) -> dict[str, str]:
    """▲ ▼ △ ▽ of the columns in which the row differs from ``against`` beyond chance."""
    label = against and against.label
    found = {t.metric: t for t in tests if (t.row, t.reference) == (row.label, label)}
    signs = {
        column: mark(test.p_holm, test.difference, smaller_is_better(column))
        for column in columns
        if (test := found.get(column))
    }
    return {column: sign for column, sign in signs.items() if sign}


def name_of(row: RowResult) -> str:
    """The label with the marks that the footnotes explain."""
    return row.label + CAP_MARK * bool(row.capped_seeds) + PART_MARK * bool(row.errors and row.runs)


def _failed(row: RowResult, width: int) -> list[str]:
    return [row.label, f"failed: {next(iter(row.errors.values()))}", *[""] * (width - 2)]


def _p_against(p_holm: dict[tuple[str, str], float], row: RowResult, against: RowResult) -> str:
    pair = (row.label, against.label)
    return p_text(p_holm[pair]) if pair in p_holm else ""


def main_table(comparison: Comparison, tests: Sequence[PairedTest]) -> str:
    """The table of all rows that are no control: mean ± std, best in bold, against the reference, published."""
    rows, reference = comparison.main_rows, reference_row(comparison)
    columns, headline = comparison.columns, comparison.headline
    best = {column: best_figure(rows, column) for column in columns}
    p_holm = headline_p(tests, headline)
    beside = {wanted[0]: name for name, wanted in comparison.published_columns.items() if wanted}

    header = ["model"]
    for column in columns:
        header += [column, f"published {beside[column].upper()}"] if column in beside else [column]
    if reference is not None:
        header += [f"{headline} vs {reference.label}", "p (Holm)"]
    searched = any(row.search for row in rows)
    header += ["valid", "epochs", "time", *(["trials", "search time"] if searched else [])]

    body = []
    for row in rows:
        if not row.runs:
            body.append(_failed(row, len(header)))
            continue
        line = [name_of(row)]
        marks = marks_of(row, reference, columns, tests)
        for column, cell in zip(columns, _metric_cells(row, columns, best, marks), strict=True):
            line.append(cell)
            if column in beside:
                value = row.published.get(beside[column])
                line.append("–" if value is None else f"{value:.3f}")
        if reference is not None:
            same = row is reference
            line += ["" if same else percent(relative_change(row, reference, headline))]
            line += [_p_against(p_holm, row, reference)]
        epochs = row.field_values("epochs_run")
        line += [
            figure(row.field_values("best_valid_score")),
            f"{sum(epochs) / len(epochs):.0f}" if epochs else "–",
        ]
        body.append([*line, duration(mean_seconds(row)), *(_effort(row) if searched else [])])
    return github(header, body)


def _effort(row: RowResult) -> list[str]:
    """Trials of the search with the epochs they trained together, and its time."""
    if not row.search:
        return ["–", "–"]
    return [f"{row.search['trials']} ({row.search['epochs']} epochs)", duration(row.search["seconds"])]


def footnotes(comparison: Comparison) -> list[str]:
    """What the marks mean, how the reference was chosen, and where the order differs from the published one."""
    notes, reference = [], reference_row(comparison)
    cap = comparison.common.get("budget", {}).get("epochs")
    capped = [
        f"{r.label} ({len(r.capped_seeds)} of {len(r.runs)} runs)" for r in comparison.rows if r.capped_seeds
    ]
    if capped:
        notes.append(
            f"{CAP_MARK} stopped by the cap of {count(cap, 'epoch')} and not by early stopping, so it might have "
            f"risen further: {', '.join(capped)}."
        )
    for row in comparison.rows:
        mark = f"{PART_MARK} " if row.runs else ""
        notes += [f"{mark}{row.label}: seed {seed} failed: {error}" for seed, error in row.errors.items()]
    notes += [f"{', '.join(labels)}: {remark}" for remark, labels in _remarks(comparison).items()]
    if reference is not None and comparison.reference is None:
        notes.append(f"Reference: {reference.label}, the best baseline by its score on validation.")
    if comparison.unproven:
        notes.append(f"Not proven to be asked the same as the other lines: {', '.join(comparison.unproven)}.")
    seeds = len(comparison.seeds)
    spread_note = (
        "; ± is the sample standard deviation over seeds (none: the seeds agree)" if seeds > 1 else ""
    )
    labelled = any(
        run.queries is not None and is_labelled(run.queries)
        for row in comparison.rows
        for run in row.runs.values()
    )
    pairs = "users (pseudo-values, so that a user's rows stay together)" if labelled else "queries"
    notes.append(
        f"{count(seeds, 'seed')}{spread_note}. Best in bold. p: paired t-test over {pairs} on the mean over seeds, "
        "two-sided, Holm-corrected. ▲ ▼: better, worse than the row it is tested against with p < .01; △ ▽: p < .05."
    )
    return notes + order_sentences(comparison)


def _remarks(comparison: Comparison) -> dict[str, list[str]]:
    """What the records remark, each with the rows it is true of; not that a key of all rows has no effect on some."""
    found: dict[str, list[str]] = {}
    shared = keys_that("shared")
    for row in comparison.rows:
        every = [line for run in row.runs.values() for line in run.record.get("remarks") or []]
        for line in dict.fromkeys(every):
            if "no effect with" in line and line.partition(":")[0] in shared:
                continue
            alike = line.removeprefix(f"{row.model}: ").replace(
                f"no effect with {row.model}: ", "no effect: "
            )
            found.setdefault(alike, []).append(row.label)
    return found


TESTS_HEAD = (
    *("row", "against", "metric", "queries", "difference"),
    *("95 % interval", "p (t)", "p (Wilcoxon)", "p (Holm)"),
)


def test_cells(t: PairedTest) -> list[str]:
    """A test by the columns of ``TESTS_HEAD``."""
    return [
        *(t.row, t.reference, t.metric, str(t.queries), f"{t.difference:+.4f}"),
        *(interval(t.low, t.high), p_text(t.p_t), p_text(t.p_wilcoxon), p_text(t.p_holm)),
    ]


def tests_table(tests: Sequence[PairedTest]) -> str:
    """Every paired test: difference, bootstrap interval, t, Wilcoxon, Holm."""
    return github(TESTS_HEAD, [test_cells(test) for test in tests])


def controls_table(comparison: Comparison, tests: Sequence[PairedTest]) -> str | None:
    """Each multimodal row over its controls (ids only, shuffled, noise); None when there are none."""
    parents = [
        row for row in comparison.main_rows if any(r.of == row.label and r.control for r in comparison.rows)
    ]
    if not parents:
        return None
    columns, headline = comparison.columns, comparison.headline
    p_holm = headline_p(tests, headline)
    body = []
    for parent in parents:
        group = [parent, *(r for r in comparison.rows if r.of == parent.label and r.control)]
        best = {column: best_figure(group, column) for column in columns}
        for row in group:
            name = parent.label if row is parent else f"{parent.label}: {row.control}"
            if not row.runs:
                body.append([name, *_failed(row, len(columns) + 3)[1:]])
                continue
            change = "" if row is parent else percent(relative_change(row, parent, headline))
            p = _p_against(p_holm, row, parent)
            marks = marks_of(row, parent, columns, tests)
            body.append([name, *_metric_cells(row, columns, best, marks), change, p])
    return github(["features", *columns, f"{headline} vs complete", "p (Holm)"], body)


def pairs_table(comparison: Comparison, tests: Sequence[PairedTest]) -> str | None:
    """The rows beside those that they name: change, difference and interval of the headline; None without any."""
    headline = comparison.headline
    found = {(t.row, t.reference): t for t in tests if t.metric == headline}
    body = []
    for row, against in named_pairs(comparison):
        line = [row.label, against.label, percent(relative_change(row, against, headline))]
        if test := found.get((row.label, against.label)):
            sign = mark(test.p_holm, test.difference, smaller_is_better(headline))
            line += [
                f"{test.difference:+.4f} {sign}".rstrip(),
                interval(test.low, test.high),
                p_text(test.p_holm),
            ]
        body.append([*line, *["–"] * (6 - len(line))])
    return (
        github(["row", "against", headline, "difference", "95 % interval", "p (Holm)"], body)
        if body
        else None
    )


def missing_table(comparison: Comparison) -> str | None:
    """The curve over masked features: one line a model and share; None when it was not asked for."""
    body = []
    for parent in comparison.main_rows:
        points = [row for row in comparison.rows if row.of == parent.label and row.missing is not None]
        for row in [parent, *sorted(points, key=lambda r: r.missing or 0.0)] if points else []:
            cells = _metric_cells(row, comparison.columns, {})
            change = "" if row is parent else percent(relative_change(row, parent, comparison.headline))
            name = [parent.label, f"{row.missing or 0:.0%}"]
            body.append([*name, *cells, change] if row.runs else [*name, *_failed(row, len(cells) + 2)[1:]])
    header = ["model", "masked", *comparison.columns, f"{comparison.headline} vs complete"]
    return github(header, body) if body else None


def markdown(comparison: Comparison, tests: Sequence[PairedTest], untested: Sequence[str] = ()) -> str:
    """The whole report: title, main table, notes, named pairs, controls, curve, paired tests."""
    about = caption_text(comparison.caption)
    parts = [f"## {comparison.preset or 'Comparison'} on {comparison.dataset}"]
    parts += [about, main_table(comparison, tests)]
    parts += ["\n".join(f"- {note}" for note in [*footnotes(comparison), *untested])]
    for title, table in (
        ("Row by row", pairs_table(comparison, tests)),
        ("Do the features help?", controls_table(comparison, tests)),
        ("Features masked", missing_table(comparison)),
        ("Paired tests", tests_table(tests) if tests else None),
    ):
        parts += [f"### {title}", table] if table else []
    if comparison.published_source:
        parts.append(f"Published figures: {comparison.published_source}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def on_terminal(
    comparison: Comparison, tests: Sequence[PairedTest], untested: Sequence[str], file: str
) -> str:
    """:func:`markdown` with the tests of the headline between rows alone; ``file`` has all of them."""
    headline, labels = comparison.headline, {row.label for row in comparison.main_rows}
    shown = [test for test in tests if test.metric == headline and test.row in labels]
    text = markdown(comparison, shown, untested)
    left = len(tests) - len(shown)
    return f"{text}\n{count(left, 'more paired test')} in {file}\n" if left else text


def github(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its first column to the left."""
    safe = [[cell.replace("|", "\\|") for cell in line] for line in body]
    align = ["left", *["right"] * (len(header) - 1)]
    return tabulate(
        safe, headers=[*header], tablefmt="github", disable_numparse=True, colalign=align if safe else None
    )

"""A comparison as a LaTeX table with the rules of booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_mm.report.paired import PairedTest, headline_p
from recbole_mm.report.statistics import reference_row, relative_change, spread
from recbole_mm.report.table import best_figure, footnotes, marks_of, name_of
from recbole_mm.report.text import caption_text, p_text, percent
from recbole_mm.run.comparison import Comparison, RowResult

_SPECIAL = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "–": "--",
    "|": r"\textbar{}",
    "…": r"\dots{}",
    "·": r"$\cdot$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    **{
        sign: f"$^{name}$"
        for sign, name in {
            "▲": r"\blacktriangle",
            "▼": r"\blacktriangledown",
            "△": r"\vartriangle",
            "▽": r"\triangledown",
        }.items()
    },
    **{"−": "$-$", "×": r"$\times$", "→": r"$\rightarrow$", "≤": r"$\leq$", "≥": r"$\geq$"},
}


def escaped(text: str) -> str:
    """``text`` as LaTeX prints it."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def latex(comparison: Comparison, tests: Sequence[PairedTest]) -> str:
    """The main rows, then the controls below a rule: the best in bold, marks of significance, a caption."""
    reference, columns = reference_row(comparison), comparison.columns
    published = [
        name for name in comparison.published_columns if any(name in r.published for r in comparison.rows)
    ]
    head = ["Model", *columns, *(f"published {name.upper()}" for name in published)]
    head += [f"vs {reference.label}", "$p$"] if reference is not None else []
    best = {column: best_figure(comparison.main_rows, column) for column in columns}
    lines = [_line(row, comparison, tests, best, published) for row in comparison.main_rows]
    controls = [row for row in comparison.rows if row.of is not None]
    if controls:
        lines += [r"\midrule", *(_line(row, comparison, tests, {}, published) for row in controls)]
    notes = " ".join(f"{note.removesuffix('.')}." for note in footnotes(comparison))
    caption = f"{comparison.dataset}. {caption_text(comparison.caption)} {notes}"
    return "\n".join(
        [
            r"% needs \usepackage{booktabs} and \usepackage{amssymb}; letters beyond Latin need XeLaTeX or LuaLaTeX",
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(name if name == "$p$" else escaped(name) for name in head) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{escaped(caption)}}}",
            r"\end{table}",
            "",
        ]
    )


def _line(
    row: RowResult,
    comparison: Comparison,
    tests: Sequence[PairedTest],
    best: dict[str, str | None],
    published: Sequence[str],
) -> str:
    reference = reference_row(comparison)
    against = comparison.row(row.of) if row.of else reference
    name = escaped(name_of(row))
    if not row.runs:
        return rf"{name} & \multicolumn{{{len(comparison.columns)}}}{{l}}{{failed}} \\"
    marks = marks_of(row, against, comparison.columns, tests)
    cells = [_figure(row, column, best, marks) for column in comparison.columns]
    cells += [f"{row.published[name]:.3f}" if name in row.published else "--" for name in published]
    if reference is not None:
        p = headline_p(tests, comparison.headline).get((row.label, against.label)) if against else None
        change = (
            ""
            if against is None or against is row
            else percent(relative_change(row, against, comparison.headline))
        )
        cells += [escaped(change), "" if p is None else escaped(p_text(p))]
    return " & ".join([name, *cells]) + r" \\"


def _figure(row: RowResult, column: str, best: dict[str, str | None], marks: dict[str, str]) -> str:
    found = spread(row.values(column))
    if found is None:
        return "--"
    mean = f"{found.mean:.4f}"
    text = rf"\textbf{{{mean}}}" if mean == best.get(column) else mean
    return text + (rf" $\pm$ {found.std:.4f}" if found.std else "") + escaped(marks.get(column, ""))

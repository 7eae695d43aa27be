from __future__ import annotations

import json
from dataclasses import replace

import pytest

from recbole_mm.report.latex import latex
from recbole_mm.report.paired import PairedTest
from recbole_mm.report.plain import document, frame
from recbole_mm.report.plot import missing_frame, write_missing
from recbole_mm.report.statistics import best_text
from recbole_mm.report.table import (
    controls_table,
    footnotes,
    main_table,
    markdown,
    missing_table,
    on_terminal,
    pairs_table,
)
from recbole_mm.report.text import duration, figure, mark, p_text
from recbole_mm.run.comparison import Comparison, RowResult
from recbole_mm.run.folder import RunResult


def row(label: str, *values: float, valid: float = 0.1, stopped: str = "early stopping", **more) -> RowResult:
    runs = {
        2020 + k: RunResult(
            {"best_valid_score": valid, "test_result": {"ndcg@10": value, "gauc": 0.5}, "stopped_by": stopped}
            | {"epochs_run": 10 + k, "seconds": 30.0}
        )
        for k, value in enumerate(values)
    }
    return RowResult(label, label, runs=runs, **more)


def cells(table: str, label: str) -> list[str]:
    """The cells of the line that starts with the label."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return next(line for line in lines if line[0] == label)


def toy(**more) -> Comparison:
    rows = [
        row("BPR", 0.2, valid=0.3, stopped="cap", baseline=True, published={"ndcg": 0.612}),
        row("ItemKNN", 0.1, 0.1, valid=0.2, baseline=True),
        row("CMC", 0.2, 0.3, 0.4, valid=0.4, published={"ndcg": 0.725}),
    ]
    common = {"budget": {"epochs": 50}, "split": {}}
    options = {"published_columns": {"ndcg": ["ndcg@10"]}, "published_source": "A. Author", "common": common}
    return Comparison(rows, ["ndcg@10", "gauc"], "toy", [2020, 2021, 2022], **{**options, **more})


def test_of(label: str, p_holm: float, reference: str = "BPR", metric: str = "ndcg@10") -> PairedTest:
    return PairedTest(label, reference, metric, 100, 0.1, 0.05, 0.15, p_holm / 2, 0.01, p_holm)


test_of.__test__ = False  # a helper


def test_the_line_of_a_row_holds_mean_and_spread_published_change_and_p():
    table = main_table(toy(), [test_of("CMC", 0.0123)])
    assert cells(table, "model") == [
        *(
            "model",
            "ndcg@10",
            "published NDCG",
            "gauc",
            "ndcg@10 vs BPR",
            "p (Holm)",
            "valid",
            "epochs",
            "time",
        ),
    ]
    # mean .3, deviations -.1, 0, .1: std = sqrt(.02 / 2) = .1; (.3 - .2) / .2 = +50 %
    assert cells(table, "CMC") == [
        *("CMC", "**0.3000 ± 0.1000** △", "0.725", "**0.5000**", "+50.0%", ".012", "0.4000", "11", "30 s"),
    ]
    assert cells(table, "ItemKNN") == [
        *("ItemKNN", "0.1000", "–", "**0.5000**", "-50.0%", "", "0.2000", "10", "30 s"),
    ]
    assert cells(table, "BPR†")[3:6] == ["**0.5000**", "", ""]


def test_rows_stand_beside_those_they_name():
    rows = [row("BPR", 0.2), row("BPR (CPMM)", 0.3, against=["BPR", "EASE"]), row("EASE", 0.1)]
    comparison = replace(toy(), rows=rows, reference="EASE")
    table = pairs_table(comparison, [test_of("BPR (CPMM)", 0.004)])
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert lines == [
        ["BPR (CPMM)", "BPR", "+50.0%", "+0.1000 ▲", "[+0.0500, +0.1500]", ".004"],
        ["BPR (CPMM)", "EASE", "+200.0%", "–", "–", "–"],
    ]
    assert pairs_table(toy(), []) is None


def test_rows_that_look_equal_are_equally_bold_and_a_lone_row_is_not():
    close = Comparison([row("a", 0.20001), row("b", 0.2), row("c", 0.19)], ["ndcg@10"], "toy", [2020])
    table = main_table(close, [])
    assert [cells(table, label)[1] for label in "abc"] == ["**0.2000**", "**0.2000**", "0.1900"]
    assert cells(main_table(Comparison([row("a", 0.2)], ["ndcg@10"], "toy", [2020]), []), "a")[1] == "0.2000"


def test_where_less_is_better_the_smallest_is_bold():
    rows = [row("a", 0.2), row("b", 0.1)]
    for each, value in zip(rows, (0.9, 0.4), strict=True):
        each.runs[2020].record["test_result"]["giniindex@10"] = value
    table = main_table(Comparison(rows, ["giniindex@10"], "toy", [2020]), [])
    assert [cells(table, label)[1] for label in "ab"] == ["0.9000", "**0.4000**"]


def test_a_failed_row_is_in_the_table_with_its_line():
    rows = [*toy().rows, RowResult("GCE", "GCE", errors={2020: "out of | memory"})]
    rows[2] = replace(rows[2], errors={2023: "NaN"})
    comparison = replace(toy(), rows=rows)
    table = main_table(comparison, [])
    assert "| GCE " in table
    assert "failed: out of \\| memory" in table
    assert cells(table, "CMC‡")[0] == "CMC‡"
    notes = footnotes(comparison)
    assert "‡ CMC: seed 2023 failed: NaN" in notes
    assert "GCE: seed 2020 failed: out of | memory" in notes


def test_the_cap_and_the_choice_of_the_reference_are_footnotes():
    notes = footnotes(toy())
    assert notes[0].startswith("† stopped by the cap of 50 epochs and not by early stopping")
    assert notes[0].endswith("BPR (1 of 1 runs).")
    assert "Reference: BPR, the best baseline by its score on validation." in notes


def test_the_report_names_the_order_that_differs_and_the_source():
    comparison = toy()
    assert "Our order" not in markdown(comparison, [])
    comparison.row("BPR").published["ndcg"] = 0.9
    text = markdown(comparison, [test_of("CMC", 0.01)], ["X: not tested."])
    assert (
        "Our order by ndcg@10 differs from the published one by NDCG: ours CMC > BPR; published BPR > CMC."
        in text
    )
    assert "Published figures: A. Author." in text
    assert "- X: not tested." in text
    assert "### Paired tests" in text
    assert "+0.1000" in text


def test_what_the_records_remark_is_said_once_with_its_rows():
    comparison = toy()
    for each in comparison.rows:
        for run in each.runs.values():
            run.record["remarks"] = [
                "nproc: no effect", f"tau: no effect with {each.model}: why",
                f"epochs: no effect with {each.model}: why",
                *([f"{each.label}: alone"] * (each.label == "CMC")),
            ]  # fmt: skip
    notes = footnotes(comparison)
    assert [note for note in notes if "effect" in note or "alone" in note] == [
        "BPR, ItemKNN, CMC: nproc: no effect",
        "BPR, ItemKNN, CMC: tau: no effect: why",
        "CMC: alone",
    ]


def test_a_terminal_gets_the_headline_against_each_baseline_and_where_the_rest_is():
    tests = [
        test_of("CMC", 0.01),
        test_of("CMC", 0.02, "ItemKNN"),
        test_of("CMC", 0.03, metric="auc"),
        test_of("CMC, ids only", 0.02, "CMC"),
    ]
    text = on_terminal(with_controls(), tests, ["X: not tested."], "out/table.md")
    lines = text.partition("### Paired tests")[2].splitlines()
    assert [line.split("|")[1:4] for line in lines if line.startswith("| CMC")] == [
        [" CMC   ", "       BPR ", "  ndcg@10 "],
        [" CMC   ", "   ItemKNN ", "  ndcg@10 "],
    ]
    assert lines[-1] == "2 more paired tests in out/table.md"
    assert "- X: not tested." in text
    assert "more paired" not in on_terminal(with_controls(), tests[:2], [], "out/table.md")


def with_controls() -> Comparison:
    more = [
        row("CMC, ids only", 0.15, of="CMC", control="ids only"),
        row("CMC, 60% masked", 0.2, of="CMC", missing=0.6),
        row("CMC, 30% masked", 0.25, of="CMC", missing=0.3),
    ]
    return replace(toy(), rows=[*toy().rows, *more])


def test_controls_stand_below_their_row_and_not_in_the_main_table():
    comparison = with_controls()
    assert "ids only" not in main_table(comparison, [])
    table = controls_table(comparison, [test_of("CMC, ids only", 0.02, "CMC")])
    assert cells(table, "CMC")[1] == "**0.3000 ± 0.1000**"
    assert cells(table, "CMC: ids only") == ["CMC: ids only", "0.1500 △", "**0.5000**", "-50.0%", ".020"]
    assert controls_table(toy(), []) is None


def test_the_curve_over_masked_features_starts_with_the_row_itself():
    table = missing_table(with_controls())
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert [line[:3] for line in lines] == [
        ["CMC", "0%", "0.3000 ± 0.1000"],
        ["CMC", "30%", "0.2500"],
        ["CMC", "60%", "0.2000"],
    ]
    assert missing_table(toy()) is None
    curve = missing_frame(with_controls())
    assert sorted(curve[curve["metric"] == "ndcg@10"]["masked"]) == [0.0, 0.3, 0.6]


@pytest.mark.parametrize(
    ("p", "difference", "smaller", "wanted"),
    [
        (0.0099, 0.1, False, "▲"),
        (0.01, 0.1, False, "△"),
        (0.0099, -0.1, False, "▼"),
        (0.049, -0.1, False, "▽"),
        (0.05, 0.1, False, ""),
        (0.001, -0.1, True, "▲"),
        (0.001, 0.1, True, "▼"),
        (None, 0.1, False, ""),
    ],
)
def test_a_mark_tells_better_from_worse_and_how_sure_it_is(p, difference, smaller, wanted):
    assert mark(p, difference, smaller) == wanted


def test_latex_has_rules_bold_marks_and_no_bare_special_character():
    comparison = with_controls()
    comparison.rows[2] = replace(comparison.rows[2], label="CMC_2 & 50%")
    comparison.rows[3:] = [replace(each, of="CMC_2 & 50%") for each in comparison.rows[3:]]
    tests = [test_of("CMC_2 & 50%", 0.001), test_of("CMC, ids only", 0.02, "CMC_2 & 50%")]
    text = latex(comparison, tests)
    lines = text.splitlines()
    assert [line for line in lines if "rule" in line and "%" not in line] == [
        r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"
    ]  # fmt: skip
    assert lines[lines.index(r"\toprule") + 1] == r"Model & ndcg@10 & gauc & published NDCG & vs BPR & $p$ \\"
    assert (
        r"CMC\_2 \& 50\% & \textbf{0.3000} $\pm$ 0.1000$^\blacktriangle$ & \textbf{0.5000} & 0.725 & +50.0\% & .001 \\"
        in lines
    )
    assert r"CMC, ids only & 0.1500$^\vartriangle$ & 0.5000 & -- & -50.0\% & .020 \\" in lines
    assert r"BPR$^\dagger$ & 0.2000 & \textbf{0.5000} & 0.612 &  &  \\" in lines
    body = [line for line in lines if line.endswith(r"\\")]
    assert len({line.replace(r"\&", "").count("&") for line in body}) == 1


def test_latex_knows_signs_beyond_ascii_and_ends_each_note_with_a_stop():
    comparison = with_controls()
    failed = replace(
        comparison.rows[2], label="CMC | a → b − c ≥ …", runs={}, errors={2020: "no memory", 2021: "NaN."}
    )
    comparison.rows[2:] = [failed]
    text = latex(comparison, [])
    assert r"CMC \textbar{} a $\rightarrow$ b $-$ c $\geq$ \dots{} & \multicolumn" in text
    assert "seed 2020 failed: no memory. CMC" in text and "seed 2021 failed: NaN. Reference" in text
    assert text.isascii()


def test_csv_and_json_hold_the_same_figures():
    comparison = with_controls()
    tests = [test_of("CMC", 0.0123), test_of("CMC, ids only", 0.02, "CMC")]
    table = frame(comparison, tests).set_index("label")
    assert table.loc["CMC", ["ndcg@10", "ndcg@10 std", "change", "p (Holm)"]].tolist() == pytest.approx(
        [0.3, 0.1, 0.5, 0.0123]
    )
    assert table.loc["CMC, ids only", "against"] == "CMC"
    assert table["ndcg@10 best"].tolist() == [False, False, True, False, False, False]
    assert table.loc[["BPR", "CMC", "CMC, ids only"], "ndcg@10 mark"].tolist() == ["", "△", "△"]
    assert table.loc["BPR", "stopped by cap"] == 1
    plain = json.loads(json.dumps(document(comparison, tests)))
    rows = {line["label"]: line for line in plain["rows"]}
    assert rows["CMC"]["metrics"]["ndcg@10"]["values"] == [0.2, 0.3, 0.4]
    assert rows["CMC"]["metrics"]["ndcg@10"]["std"] == pytest.approx(0.1)
    assert rows["BPR"]["stopped_by_cap"] == [2020]
    assert plain["tests"][0]["p_holm"] == 0.0123
    assert plain["reference"] == "BPR"
    assert plain["budget"] == {"epochs": 50}


def test_nan_is_not_the_best():
    assert (
        best_text([float("nan"), 0.5, 0.4], "gauc") == "0.5000"
        and best_text([0.3, 0.5], "logloss") == "0.3000"
    )
    assert best_text([float("nan"), 0.5], "gauc") is None


def test_no_figure_without_its_data(tmp_path):
    assert write_missing(toy(), tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert write_missing(with_controls(), tmp_path) == tmp_path / "missing.html"
    assert {path.name for path in tmp_path.iterdir()} == {"missing.html", "missing.csv", "plotly.min.js"}
    assert 'src="plotly.min.js"' in (tmp_path / "missing.html").read_text()


def test_the_caption_is_what_the_runs_did():
    comparison = toy()
    assert comparison.caption == {} and comparison.unproven == ["BPR", "ItemKNN", "CMC"]
    assert "- Not proven to be asked the same as the other lines: BPR, ItemKNN, CMC." in markdown(
        comparison, []
    )
    for each in comparison.rows:
        for run in each.runs.values():
            run.record.update(
                evaluation={"split": "by the field part", "not ranked": "nothing"}, question={"x": 1}
            )
    text = markdown(comparison, [])
    assert text.splitlines()[2] == "Split: by the field part. Not ranked: nothing."
    assert "proven" not in text
    assert document(comparison, [])["evaluation"] == {"split": "by the field part", "not ranked": "nothing"}


def test_figures_as_text():
    assert figure([]) == "–"
    assert figure([0.12344], bold=True) == "**0.1234**"
    assert [p_text(p) for p in (None, 0.00099, 0.001, 0.5, 1.0)] == ["–", "<.001", ".001", ".500", "1.000"]
    assert [duration(s) for s in (4.4, 89, 90, 5399, 5400)] == ["4 s", "89 s", "2 min", "90 min", "1.5 h"]

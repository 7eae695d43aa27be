"""What each model has over its controls, out of records of many comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.cli import main
from recbole_mm.report.modality import gains, gains_figure, gains_table


def record(difference: float, seeds: int = 1, **more: Any) -> dict[str, Any]:
    """CMC with two controls, of which the second has no test; the first differs from CMC by ``difference``."""
    rows = [
        {"label": "CMC", "control_of": None, "control": None},
        {"label": "CMC, ids only", "control_of": "CMC", "control": "ids only"},
        {"label": "CMC, noise features", "control_of": "CMC", "control": "noise features"},
        {"label": "BPR", "control_of": None, "control": None},
    ]
    for row in rows:
        row |= {"errors": {}, "per_seed": {str(k): {} for k in range(seeds)}, "metrics": {}}
    test = {"queries": 30, "difference": difference, "low": difference - 0.02, "high": difference + 0.01}
    tests = [
        {**test, "row": row, "reference": reference, "metric": metric, "p_holm": 0.004}
        for row, reference, metric in (
            ("CMC, ids only", "CMC", "ndcg@10"), ("CMC, ids only", "CMC", "recall@10"), ("BPR", "CMC", "ndcg@10")
        )
    ]  # fmt: skip
    asked = {
        "preset": "zoo",
        "dataset": "hm",
        "metrics": ["ndcg@10", "recall@10"],
        "evaluation": {"split": "x"},
    }
    return {**asked, "rows": rows, "tests": tests, **more}


def test_a_gain_is_the_complete_model_minus_its_control() -> None:
    (line,) = gains({"zoo-hm": record(-0.05)}).to_dict("records")
    assert line == {
        "table": "zoo on hm", "model": "CMC", "metric": "ndcg@10", "control": "ids only", "queries": 30,
        "gain": 0.05, "low": pytest.approx(0.04), "high": pytest.approx(0.07), "p": 0.004, "seeds": 1,
        "record": "zoo-hm",
    }  # fmt: skip
    cells = [
        cell.strip() for cell in gains_table(gains({"zoo-hm": record(-0.05)})).splitlines()[2].split("|")
    ]
    assert cells[1:5] == ["zoo on hm", "CMC", "ids only", "ndcg@10"]
    assert cells[5:-1] == ["+0.0500 ▲", "[+0.0400, +0.0700]", ".004", "1", "zoo-hm"]
    assert "-0.0500 ▼" in gains_table(gains({"zoo-hm": record(0.05)}))


def test_of_two_records_that_of_more_seeds_counts_and_other_splits_stand_apart() -> None:
    records = {
        "a": record(-0.1, seeds=3),
        "b": record(-0.2),
        "c": record(-0.3, evaluation={"split": "by time"}),
    }
    assert [(line.record, line.gain) for line in gains(records).itertuples()] == [("a", 0.1), ("c", 0.3)]
    assert len(gains({"x": record(-0.1, tests=[])})) == 0


def test_other_candidates_under_one_split_stand_apart() -> None:
    """The split reads the same; the question, by its hashes, is another."""
    records = {"a": record(-0.1), "b": record(-0.2)}
    for name, each in records.items():
        each["rows"][0]["per_seed"]["0"] = {"question": {"hashes": {"candidates": name}}}
    assert [line.record for line in gains(records).itertuples()] == ["a", "b"]


def test_the_figure_has_a_bar_for_each_control() -> None:
    figure = gains_figure(gains({"a": record(-0.1), "b": record(0.2, dataset="toys")}))
    (trace,) = figure.data
    assert list(trace.y) == ["a: CMC", "b: CMC"] and list(trace.x) == [0.1, -0.2]
    assert list(figure.layout.yaxis.categoryarray) == ["b: CMC", "a: CMC"]  # from below
    assert list(trace.error_x.array) == pytest.approx([0.02, 0.02])
    assert list(trace.error_x.arrayminus) == pytest.approx([0.01, 0.01])


def test_the_command_draws_and_a_page_has_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r/a").mkdir(parents=True)
    (tmp_path / "r/a/result.json").write_text(json.dumps(record(-0.05)))
    out = tmp_path / "board.md", tmp_path / "modality.html"
    asked = ["report", str(tmp_path / "r"), "--leaderboard", str(out[0]), "--modality", str(out[1])]
    assert main(asked) == 0
    assert "## Does the modality help?" in out[0].read_text() and "complete − ids only" in out[1].read_text()
    assert out[1].with_suffix(".csv").read_text().count("\n") == 2
    (tmp_path / "r/a/result.json").write_text(json.dumps(record(-0.05, tests=[])))
    assert main([*asked[:2], "--modality", str(out[1])]) == 2
    assert "these records hold no controls" in capsys.readouterr().err
    assert main([*asked[:2], "--leaderboard", str(out[0])]) == 0
    assert "Does the modality help?" not in out[0].read_text()

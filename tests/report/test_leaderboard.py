"""The leaderboard from records: what is recorded, what is missing, which of two records is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.cli import main
from recbole_mm.report.leaderboard import leaderboard


def row(label: str, *values: float, **more: Any) -> dict[str, Any]:
    """A row with a seed for each NDCG; its recall is twice that."""
    seeds = {str(2020 + k): {"question": more.pop("question", None)} for k in range(len(values))}
    found = {"ndcg@10": {"values": values}, "recall@10": {"values": [2 * v for v in values]}}
    return {"label": label, "control_of": None, "errors": {}, "per_seed": seeds, "metrics": found, **more}


def record(*rows: dict[str, Any], preset: str = "zoo", dataset: str = "hm", **more: Any) -> dict[str, Any]:
    return {
        "preset": preset,
        "dataset": dataset,
        "metrics": ["ndcg@10", "recall@10"],
        "evaluation": {"split": "by time"},
        "rows": list(rows),
        "tests": [],
        **more,
    }


def cells(text: str, label: str) -> list[list[str]]:
    lines = (line for line in text.splitlines() if line.startswith(f"| {label} "))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_rows_hold_the_spread_and_p_and_what_is_missing_says_so() -> None:
    test = {"row": "CMC", "reference": "EASE", "metric": "ndcg@10", "p_holm": 0.0002}
    one = record(row("EASE", 0.1), row("CMC", 0.2, 0.3, 0.4), tests=[test])
    text = leaderboard({"zoo-hm": one}, {("zoo", "hm"): ["EASE", "BPR", "CMC"]}, "the command")
    assert cells(text, "model") == [["model", "ndcg@10", "recall@10", "p (Holm)", "seeds", "record"]]
    assert cells(text, "EASE") == [["EASE", "0.1000", "0.2000", "", "1", "zoo-hm"]]
    assert cells(text, "BPR") == [["BPR", "", "", "", "not run", ""]]
    assert cells(text, "CMC") == [
        ["CMC", "**0.3000 ± 0.1000**", "**0.6000 ± 0.2000**", "<.001 vs EASE", "3", "zoo-hm"]
    ]
    assert "## zoo on hm\n\nSplit: by time.\n\n| model" in text and "`the command`" in text


def test_a_table_grows_record_by_record() -> None:
    records = {
        "a": record(row("CMC", 0.2, 0.3), row("BPR", 0.1)),
        "b": record(row("CMC", 0.5), row("BPR", 0.15)),
    }
    text = leaderboard(records, {}, "")
    assert text.count("## ") == 1
    assert [line[-2:] for line in cells(text, "CMC")] == [["2", "a"]]  # more seeds
    assert [line[-2:] for line in cells(text, "BPR")] == [["1", "b"]]  # as many: the later


def test_what_was_asked_otherwise_is_a_table_of_its_own() -> None:
    asked = [{"hashes": {"queries": k}} for k in "xy"]
    records = {k: record(row("BPR", 0.1, question=q)) for k, q in zip("ab", asked, strict=True)}
    assert leaderboard(records, {}, "").count("## zoo on hm") == 2


def test_a_failed_row_says_why_and_a_control_is_never_the_best() -> None:
    failed = row("GCE", errors={"2020": "out of memory"})
    control = row("CMC (shuffled)", 0.9, control_of="CMC")
    text = leaderboard({"a": record(row("BPR", 0.1), row("CMC", 0.2), failed, control)}, {}, "")
    assert cells(text, "GCE") == [["GCE", "", "", "", "failed: out of memory", "a"]]
    assert cells(text, "CMC")[0][1] == "**0.2000**"
    assert cells(text, "CMC (shuffled)")[0][1] == "0.9000"


def test_tables_of_presets_come_first_and_are_shown_before_anything_is_run() -> None:
    other = record(row("Pop", 0.1), preset="sequential", dataset="toys")
    text = leaderboard({"s": other}, {("zoo", "toys"): ["EASE"], ("zoo", "hm"): ["EASE"]}, "")
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["## zoo on toys", "## zoo on hm", "## sequential on toys"]
    assert cells(text, "EASE") == [["EASE", "", "not run", ""]] * 2


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r/a").mkdir(parents=True)
    (tmp_path / "r/a/result.json").write_text(json.dumps(record(row("BPR", 0.1), preset="zoo-cdr")))
    out = tmp_path / "board.md"
    assert main(["report", str(tmp_path / "r"), "--leaderboard", str(out)]) == 0
    text = out.read_text()
    board = text[text.index("## zoo-cdr on hm") :]
    assert cells(board, "BPR")[0][-1] == "a" and cells(board, "BiTGCF")[0][-2] == "not run"
    assert capsys.readouterr().out.endswith("board.md: 1 record\n")


def test_a_folder_without_records_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path), "--leaderboard", str(tmp_path / "b.md")]) == 2
    assert f"{tmp_path}: no record */result.json there; copy result.json" in capsys.readouterr().err
    (tmp_path / "a").mkdir()
    for text in ("{", "{}", "[]"):
        (tmp_path / "a/result.json").write_text(text)
        assert main(["report", str(tmp_path), "--leaderboard", str(tmp_path / "b.md")]) == 1
        assert f"{tmp_path}/a/result.json: " in capsys.readouterr().err
    for folder in ("one/a", "two/a"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "result.json").write_text(json.dumps(record(row("BPR", 0.1))))
    both = [str(tmp_path / name) for name in ("one", "two")]
    assert main(["report", *both, "--leaderboard", str(tmp_path / "b.md")]) == 2
    assert "there is another record called a; rename" in capsys.readouterr().err
    assert main(["report", both[0], "--leaderboard", str(tmp_path / "b.md"), "--out", "x.html"]) == 2

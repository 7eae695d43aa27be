"""All lines of a table are asked the same, or there is no table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from recbole_mm.errors import WrongUse
from recbole_mm.evaluator.caption import caption
from recbole_mm.quick_start.compare import compare
from recbole_mm.quick_start.session import Session
from recbole_mm.run.question import PARTS, OneQuestion, Question
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy
from recbole_mm.testing.shop import SOLD, USERS, write_shop

LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}
FULL = {"eval_args": {**LEAVE_ONE_OUT, "mode": "full"}, "sequence_split": "interactions"}
#: pairs of the 59 users with eight rows, and of the one with two, before the test
TRAIN, VALID = 6 * (USERS - 1) + 1, USERS - 1
#: one model of each family: general, one pass, graph, knowledge, context, sequential with and without .item, ours
FAMILIES = ["BPR", "ItemKNN", "EASE", "LightGCN", "CFKG", "FM", "SASRec", "SASRecF", "VBPR", "CMC"]
SMALL = {"MAX_ITEM_LIST_LENGTH": 8, "n_layers": 1, "hidden_size": 8, "inner_size": 8}
FIXED = {
    "SASRec": SMALL,
    "SASRecF": SMALL,
    "DIN": {"mlp_hidden_size": [8], "MAX_ITEM_LIST_LENGTH": 8},
    "FM": {"threshold": {"rating": 0}, "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
    "ItemKNN": {"k": 5},
}


def session(folder: Path, model: str, **more: Any) -> Session:
    folder.mkdir()
    settings = {**write_shop(folder), **FIXED.get(model, {}), **more}
    return Session.build(RunSpec(model, "shop", settings))


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({"mask_seen": "train+valid"}, {"candidates": SOLD, "masked": TRAIN + VALID}),
        ({"mask_seen": "none"}, {"candidates": SOLD, "masked": 0}),
        ({"protocol": "mmrec"}, {"candidates": SOLD, "masked": TRAIN}),
        ({"protocol": "sampled-9"}, {"candidates": 9 * USERS, "masked": 0}),
        ({"protocol": ["mmrec", "sampled-5"]}, {"candidates": SOLD + 5 * USERS, "masked": TRAIN}),
        (
            {"candidates": "catalogue", "mask_seen": "train+valid"},
            {"candidates": 100, "masked": TRAIN + VALID},
        ),
    ],
)
def test_every_family_is_asked_the_same(
    tmp_path: Path, settings: dict[str, Any], counts: dict[str, int]
) -> None:
    one = OneQuestion()
    for model in FAMILIES:
        question = session(tmp_path / model, model, **FULL, **settings).question()
        assert question is not None
        assert question.counts == {"queries": USERS, "positives": USERS, **counts}
        one.check(model, question)


@pytest.mark.parametrize(("mode", "how"), [("uni9", "uniformly"), ("pop9", "by popularity")])
def test_drawn_lists_are_the_same_for_every_family(tmp_path: Path, mode: str, how: str) -> None:
    one = OneQuestion()
    settings = {**FULL, "eval_args": {**LEAVE_ONE_OUT, "mode": mode}, "mask_seen": "train+valid"}
    for model in ["BPR", "ItemKNN", "CFKG", "FM", "SASRec", "DIN", "VBPR"]:
        made = session(tmp_path / model, model, **settings)
        assert made.question() is None  # known when it has been evaluated
        record = made.run().record
        question = Question.read(record)
        assert question is not None
        assert question.counts["queries"] == question.counts["positives"] == USERS
        assert 0.7 * 9 * USERS < question.counts["candidates"] <= 9 * USERS  # an item drawn twice counts once
        one.check(model, question)
        assert record["evaluation"]["ranked"] == (
            f"the positives of a user and 9 items for each of them, drawn {how} once from split_seed 2020, among the "
            "30 items with a row without the positives, the user's training and validation items"
        )


def test_drawn_lists_of_several_domains_are_of_all_their_items(tmp_path: Path) -> None:
    settings = {**write_toy(tmp_path, domains=2), "eval_args": {"mode": "uni400"}}
    made = Session.build(RunSpec("BPR", "toy", settings))
    drawn = torch.cat([rows["item_id"] for rows, *_ in made.test_data])
    assert len(drawn.unique()) == 30
    assert "among the 30 items with a row without" in caption(made.config, made.test_data)["ranked"]


def test_draws_of_recbole_are_another_question(tmp_path: Path) -> None:
    settings = {"eval_args": {**LEAVE_ONE_OUT, "mode": "uni9"}, "resample_eval": True}
    made = session(tmp_path / "run", "BPR", **settings)
    asked = []
    for _ in range(2):
        made.evaluate()
        asked.append(made.trainer.eval_result.question)
    assert asked[0].hashes["candidates"] != asked[1].hashes["candidates"]
    assert (
        "9 items for each of them, drawn uniformly at each evaluation anew"
        in made.run().record["evaluation"]["ranked"]
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {
                "eval_args": {
                    "split": {"RS": [0.8, 0.1, 0.1]},
                    "order": "RO",
                    "group_by": "user",
                    "mode": "full",
                }
            },
            {"split": "RecBole's RS 0.8 / 0.1 / 0.1, order RO, by user, split_seed 2020; 355 / 59 / 60 rows"},
        ),
        (
            {"split": {"random": [0.5, 0.25, 0.25], "by": ["user"]}, "split_seed": 3, "protocol": "mmrec"},
            {
                "split": "at random 0.5 / 0.25 / 0.25 by user, split_seed 3; 238 / 118 / 118 rows",
                "not ranked": "the user's training items",
                "protocol": "mmrec",
            },
        ),
        (
            {**FULL, "candidates": "catalogue", "protocol": ["recbole", "sampled-9"]},
            {
                "ranked": "the 100 items of the catalogue",
                "sampled-9": "a list for each positive with 9 items that the user never touched, of the 100 items of "
                "the catalogue, drawn once from split_seed 2020; of equal scores the mean over their orders",
                "protocol": "recbole, sampled-9",
            },
        ),
        (
            {**FULL, "evaluator": "recbole"},
            {"ranked": "all 30 items that are loaded", "protocol": "RecBole's evaluator"},
        ),
    ],
)
def test_the_caption_says_what_was_done(
    tmp_path: Path, settings: dict[str, Any], words: dict[str, str]
) -> None:
    made = session(tmp_path / "run", "BPR", **settings)
    found = caption(made.config, made.test_data)
    assert {heading: found[heading] for heading in words} == words


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["early", "late", "last"], "as the files early, late, last hold it; 150 / 150 / 150 rows"),
        (
            ["early", "last"],
            "as the files early, last hold it, validation cut from the first by RecBole's LS valid_and_test, order TO, "
            "by user; 130 / 20 / 150 rows",
        ),
    ],
)
def test_the_caption_of_files_that_were_split_before(tmp_path: Path, files: list[str], words: str) -> None:
    """They were said to be split by RecBole's ratio, the default of the configuration."""
    (tmp_path / "run").mkdir()
    settings = {**write_shop(tmp_path / "run"), **FULL, "benchmark_filename": files}
    rows = pd.read_csv(tmp_path / "run/shop/shop.inter", sep="\t")
    for k, name in enumerate(["early", "late", "last"]):
        rows[k * 150 : (k + 1) * 150].to_csv(tmp_path / f"run/shop/shop.{name}.inter", sep="\t", index=False)
    made = Session.build(RunSpec("BPR", "shop", settings))
    assert caption(made.config, made.test_data)["split"] == words


def test_the_caption_names_the_domains(tmp_path: Path) -> None:
    settings = {**write_shop(tmp_path), **FULL, "domain_field": "class"}
    made = Session.build(RunSpec("BPR", "shop", settings))
    found = caption(made.config, made.test_data)
    assert found["split"].startswith("RecBole's LS valid_and_test, order TO, by user, domain; ")
    assert found["ranked"] == "the items with a row in the query's domain (k0 8, k1 8, k2 7, k3 7)"


def test_labelled_rows_are_in_the_record(tmp_path: Path) -> None:
    settings = {"metrics": ["AUC"], "valid_metric": "AUC", "threshold": {"rating": 3}}
    made = session(tmp_path / "run", "FM", **settings)
    result = made.run()
    rows = made.test_data._dataset.inter_feat["label"]
    counts = Question.read(result.record).counts
    assert (counts["positives"], counts["candidates"]) == (int((rows > 0).sum()), int((rows == 0).sum()))
    assert list(result.queries) == ["user", "label", "score"]
    assert result.record["evaluation"]["scored"] == "each labelled row"


@pytest.mark.parametrize(
    ("part", "change", "settings"),
    [
        ("queries", lambda rows: rows[rows["user_id:token"] != "u7"], {}),
        ("positives", lambda rows: rows.assign(**{"timestamp:float": -rows["timestamp:float"]}), {}),
        ("candidates", lambda rows: rows, {"candidates": "catalogue"}),
        ("masked", lambda rows: rows, {"mask_seen": "train"}),
    ],
)
def test_each_part_tells_a_difference(
    tmp_path: Path, part: str, change: Any, settings: dict[str, Any]
) -> None:
    same = {**FULL, "mask_seen": "train+valid"}
    first = session(tmp_path / "a", "BPR", **same).question()
    (tmp_path / "b").mkdir()
    given = {**write_shop(tmp_path / "b"), **same, **settings}
    file = tmp_path / "b/shop/shop.inter"
    change(pd.read_csv(file, sep="\t")).to_csv(file, sep="\t", index=False)
    second = Session.build(RunSpec("BPR", "shop", given)).question()
    assert part in [each for each in PARTS if first.hashes[each] != second.hashes[each]]
    one = OneQuestion()
    one.check("A", first)
    with pytest.raises(WrongUse, match=rf"^one table asks one question, and B and A differ in .*{part} \("):
        one.check("B", second)


def test_the_order_and_the_numbering_of_the_rows_do_not_matter(tmp_path: Path) -> None:
    first = session(tmp_path / "a", "SASRec", **FULL, mask_seen="train+valid").question()
    (tmp_path / "b").mkdir()
    given = {**write_shop(tmp_path / "b"), **FULL}
    file = tmp_path / "b/shop/shop.inter"
    pd.read_csv(file, sep="\t").sample(frac=1, random_state=1).to_csv(file, sep="\t", index=False)
    assert Session.build(RunSpec("BPR", "shop", given)).question() == first


def table_of(tmp_path: Path, models: list[str], **settings: Any) -> dict[str, Any]:
    given = {**write_shop(tmp_path / "data"), **SMALL, **FULL, **settings}
    for key in ("checkpoint_dir", "metrics", "topk", *(key for key in settings if settings[key] is None)):
        given.pop(key)
    compare(models, "shop", 1, metrics=["ndcg@5"], out=tmp_path / "out", config_dict=given)
    return json.loads((tmp_path / "out/result.json").read_text())


def test_a_table_of_all_kinds_masks_and_ranks_alike(tmp_path: Path) -> None:
    """The example of the issue: 60 users, 30 items with rows, 100 in the table of items."""
    result = table_of(tmp_path, ["BPR", "VBPR", "CMC", "SASRec", "SASRecF"])
    records = [row["per_seed"]["2020"] for row in result["rows"]]
    assert len({json.dumps(record["question"]) for record in records}) == 1
    assert records[0]["question"]["counts"]["candidates"] == SOLD
    assert result["evaluation"] == {
        "split": "RecBole's LS valid_and_test, order TO, by user; 355 / 59 / 60 rows",
        "ranked": "the 30 items with a row",
        "not ranked": "the user's training and validation items",
        "ties": "equal scores in the order of torch.topk, one half in an AUC",
        "protocol": "recbole",
    }
    text = (tmp_path / "out/table.md").read_text()
    assert (
        "Split: RecBole's LS valid_and_test, order TO, by user; 355 / 59 / 60 rows. Ranked: the 30 items"
        in text
    )


def test_a_table_of_several_questions_is_refused(tmp_path: Path) -> None:
    """RecBole removes rows whose item is not in a table of items that it loads."""
    folder = tmp_path / "data"
    folder.mkdir()
    given = {**write_shop(folder), **FULL}
    for key in ("checkpoint_dir", "metrics", "topk"):
        given.pop(key)
    items = (folder / "shop/shop.item").read_text().splitlines(keepends=True)
    (folder / "shop/shop.item").write_text("".join(items[:20]))
    message = r"^one table asks one question, and SASRecF and BPR differ in .*candidates \(19 and 30\)"
    with pytest.raises(WrongUse, match=message):
        compare(["BPR", "SASRecF"], "shop", 1, metrics=["ndcg@5"], out=tmp_path / "out", config_dict=given)
    assert not (tmp_path / "out/table.md").exists()
    assert len(list((tmp_path / "out/runs").glob("*/record.json"))) == 1  # SASRecF was not trained


def test_families_that_split_otherwise_by_themselves_share_a_given_split(tmp_path: Path) -> None:
    table_of(tmp_path, ["BPR", "SASRec"], split={"random": [0.6, 0.2, 0.2]}, eval_args=None)


def test_recboles_masking_is_another_question(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"^SASRec would run with mask_seen: none, BPR with train\+valid"):
        table_of(tmp_path, ["BPR", "SASRec"], mask_seen="protocol")

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import recbole_mm  # noqa: F401
from recbole_mm.config import Config, fit_to_dataset
from recbole_mm.errors import WrongUse

ROWS = [("u1", "i1", 5, 3), ("u1", "i2", 2, 4), ("u2", "i1", 4, 9)]
COLUMNS = {"rating": 2, "timestamp": 3, "label": 2}


def data(root: Path, *columns: str, item: str = "", rows: list[tuple] = ROWS) -> Path:
    """A data set ``shop`` whose .inter has the ids and the named columns."""
    folder = root / "shop"
    folder.mkdir()
    header = ["user_id:token", "item_id:token", *(f"{name}:float" for name in columns)]
    lines = [[str(row[k]) for k in (0, 1, *(COLUMNS[name] for name in columns))] for row in rows]
    (folder / "shop.inter").write_text("\n".join("\t".join(cells) for cells in [header, *lines]) + "\n")
    if item:
        (folder / "shop.item").write_text(item)
    return root


def shop(model: str, root: Path, **settings: Any) -> Config:
    return Config(model, "shop", config_dict={"data_path": str(root), **settings})


@pytest.mark.parametrize(
    "model", ["EASE", "Pop", "ItemKNN", "NCEPLRec", "MultiVAE", "DiffRec", "RepeatNet", "SASRec", "SINE"]
)
def test_models_without_negatives(model: str) -> None:
    assert Config(model, "ml-100k")["train_neg_sample_args"]["distribution"] == "none"


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "FPMC", "TransRec", "DIN", "NNCF", "CFKG"])
def test_models_with_negatives(model: str) -> None:
    assert Config(model, "ml-100k")["train_neg_sample_args"]["distribution"] == "uniform"


def test_the_loss_decides_for_sequential_models() -> None:
    made = Config("SASRec", "ml-100k", config_dict={"loss_type": "BPR"})
    assert (
        made["train_neg_sample_args"]["distribution"] == "uniform"
        and made["MODEL_INPUT_TYPE"].name == "PAIRWISE"
    )


def test_sine_ranks_all_items_with_two_losses() -> None:
    made = Config("SINE", "ml-100k", config_dict={"loss_type": "NLL", "train_neg_sample_args": None})
    assert made["train_neg_sample_args"]["distribution"] == "none"


def test_what_is_given_stands() -> None:
    given = {"train_neg_sample_args": {"distribution": "popularity", "sample_num": 3}}
    assert Config("BPR", "ml-100k", config_dict=given)["train_neg_sample_args"]["sample_num"] == 3


@pytest.mark.parametrize("model", ["Pop", "EASE", "MultiVAE", "RepeatNet"])
def test_negatives_are_not_drawn_where_they_would_count_as_interactions(model: str) -> None:
    given = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
    made = Config(model, "ml-100k", config_dict=given)
    assert made["train_neg_sample_args"]["distribution"] == "none"
    assert made.notes == [f"train_neg_sample_args: no effect with {model}: it learns without negatives"]
    assert Config(model, "ml-100k", config_dict={"train_neg_sample_args": None}).notes == []


def test_labels_from_stars(tmp_path: Path) -> None:
    made = shop("DeepFM", data(tmp_path, "rating"))
    assert made["threshold"] == {"rating": 4.0} and made["load_col"]["inter"] == [
        "user_id",
        "item_id",
        "rating",
    ]
    assert made["metrics"] == ["AUC", "LogLoss"] and made.notes == ["DeepFM: label = rating >= 4 (threshold)"]


def test_labels_from_their_field(tmp_path: Path) -> None:
    made = shop("DeepFM", data(tmp_path, "label"))
    assert made["threshold"] is None and "label" in made["load_col"]["inter"]
    assert made["eval_args"]["mode"] == {"valid": "labeled", "test": "labeled"}


@pytest.mark.parametrize(
    "rows", [[("u", "i", 1, 1)], [("u", "i", 80, 1), ("u", "j", 20, 1)], [("u", "i", 5, 1)]]
)
def test_labels_from_clicks_where_ratings_are_no_stars(tmp_path: Path, rows: list[tuple]) -> None:
    made = shop("DeepFM", data(tmp_path, "rating", rows=rows))
    assert made["threshold"] is None and made["train_neg_sample_args"]["sample_num"] == 1
    assert made["eval_args"]["mode"]["test"] == "uni100" and "clicked" in made.notes[0]


def test_labels_from_clicks_to_rank() -> None:
    made = Config("DeepFM", "ml-100k", config_dict={"metrics": ["NDCG", "Recall"]})
    assert made["threshold"] is None and made["eval_args"]["mode"]["valid"] == "full"
    assert made["valid_metric"] == "NDCG@10" and made["eval_type"].name == "RANKING"


def test_given_labels_stand(tmp_path: Path) -> None:
    made = shop("DeepFM", data(tmp_path, "rating"), threshold={"rating": 2})
    assert made["threshold"] == {"rating": 2} and "rating" in made["load_col"]["inter"] and made.notes == []


def test_ranking_metrics_over_labels_are_refused() -> None:
    settings = {"metrics": ["NDCG"], "eval_args": {"mode": "labeled"}}
    with pytest.raises(WrongUse, match=r"eval_args.mode is 'labeled'"):
        Config("DeepFM", "ml-100k", config_dict=settings)


def test_part_of_eval_args_keeps_the_mode_of_the_family() -> None:
    made = Config("DeepFM", "ml-100k", config_dict={"eval_args": {"split": {"RS": [0.5, 0.2, 0.3]}}})
    assert made["eval_args"]["mode"]["test"] == "labeled"


def test_the_order_of_time(tmp_path: Path) -> None:
    assert shop("SASRec", data(tmp_path, "timestamp"))["load_col"]["inter"] == [
        "user_id",
        "item_id",
        "timestamp",
    ]


def test_no_order_of_time(tmp_path: Path) -> None:
    root = data(tmp_path, "rating")
    with pytest.raises(
        WrongUse, match=r"SASRec needs the order of time.*no field 'timestamp' \(TIME_FIELD\)"
    ):
        shop("SASRec", root)
    with pytest.raises(WrongUse, match="eval_args needs the order of time"):
        shop("BPR", root, eval_args={"order": "TO"})


def test_filters_load_their_fields(tmp_path: Path) -> None:
    root = data(tmp_path, "rating", "timestamp")
    assert "rating" in shop("BPR", root, val_interval={"rating": "[3,inf)"})["load_col"]["inter"]
    chosen = {"inter": ["user_id", "item_id"]}  # a choice of columns stands
    with pytest.raises(
        WrongUse, match=r"^val_interval: the field 'rating' of \.inter is not loaded; add it to"
    ):
        shop("BPR", root, val_interval={"rating": "[3,inf)"}, load_col=chosen)


@pytest.mark.parametrize("model", ["GRU4RecF", "SASRecF", "FDSA", "S3Rec"])
def test_item_features_by_another_name(tmp_path: Path, model: str) -> None:
    item = "item_id:token\tprice:float\ttitle:token_seq\tbrand:token\ni1\t1\ta b\tx\n"
    made = shop(model, data(tmp_path, "timestamp", item=item))
    assert (made["item_attribute"] or made["selected_features"][0]) == "brand"
    assert made["load_col"]["item"] == ["item_id", "brand"] and "item feature 'brand'" in made.notes[0]


def test_item_features_that_are_not_there(tmp_path: Path) -> None:
    root = data(tmp_path, "timestamp")
    with pytest.raises(WrongUse, match=r"GRU4RecF needs a feature of items, and there is no .*shop.item"):
        shop("GRU4RecF", root)
    (root / "shop" / "shop.item").write_text("item_id:token\tprice:float\ni1\t1\n")
    with pytest.raises(WrongUse, match="has no token field beside the id"):
        shop("GRU4RecF", root)
    with pytest.raises(WrongUse, match=r"selected_features: .* has no field 'colour'; it has item_id, price"):
        shop("GRU4RecF", root, selected_features=["colour"])


@pytest.mark.parametrize("model", ["S3Rec", "RaCT"])
def test_pretraining_counts_the_epochs_given(model: str) -> None:
    made = Config(model, "ml-100k", config_dict={"epochs": 3})
    assert made["pretrain_epochs"] == 3 and made["save_step"] == 3
    made = Config(model, "ml-100k", config_dict={"epochs": 3, "pretrain_epochs": 7, "save_step": 2})
    assert made["pretrain_epochs"] == 7 and made["save_step"] == 2
    made = Config(model, "ml-100k")
    assert made["pretrain_epochs"] >= 100 and made["save_step"] <= made["pretrain_epochs"]


def test_vectors_of_entities(tmp_path: Path) -> None:
    made = Config("KSR", "ml-100k")
    assert made["preload_weight"] == {"ent_id": "ent_emb", "rel_id": "rel_emb"}
    assert made["additional_feat_suffix"] == ["ent", "rel"] and {"kg", "link"} <= set(made["load_col"])
    assert made["eval_args"]["order"] == "TO"


@pytest.mark.parametrize(
    ("model", "library"),
    [("KGAT", "dgl"), ("KGIN", "torch_scatter"), ("MCCLK", "torch_scatter"), ("NCL", "faiss")],
)
def test_missing_libraries_are_named(model: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(WrongUse, match=f"model {model} needs the library {library}: pip install"):
        Config(model, "ml-100k")


def test_sizes_that_depend_on_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", ModuleType("faiss"))
    small = SimpleNamespace(user_num=101, item_num=1300, inter_num=10000)
    made = Config("NCL", "ml-100k")
    fit_to_dataset(made, small)
    assert 1 <= made["num_clusters"] <= 101
    with pytest.raises(WrongUse, match=r"num_clusters: 500 is too many.*at most 101"):
        fit_to_dataset(Config("NCL", "ml-100k", config_dict={"num_clusters": 500}), small)
    made = Config("DGCF", "ml-100k")
    fit_to_dataset(made, small)
    # RecBole: n_batch = training rows // batch + 1, and it samples max(U, I) / n_batch of the smaller
    assert 1300 / (8000 // made["train_batch_size"] + 1) <= 101
    made = Config("BPR", "ml-100k")
    fit_to_dataset(made, small)
    assert made["train_batch_size"] == 2048


def test_a_valid_metric_of_another_kind_than_the_metrics_is_one_line() -> None:
    """Context models have AUC and LogLoss unless they are asked to rank."""
    with pytest.raises(WrongUse) as caught:
        Config("WideDeep", "ml-100k", config_dict={"valid_metric": "NDCG@10"})
    assert str(caught.value) == (
        "valid_metric 'NDCG@10' does not go with AUC, LogLoss: one is of rankings, the other of labels; give metrics "
        "too"
    )
    ranks = Config("WideDeep", "ml-100k", config_dict={"valid_metric": "NDCG@10", "metrics": ["NDCG"]})
    assert ranks["valid_metric"] == "NDCG@10"

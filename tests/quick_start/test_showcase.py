"""What a page shows of a model: lists as the evaluation ranks, histories in time, a map, words for items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_mm.cli import main
from recbole_mm.data.describe import describe_items
from recbole_mm.quick_start import showcase as module
from recbole_mm.quick_start.session import Session
from recbole_mm.quick_start.showcase import showcase, showcase_of
from recbole_mm.run.folder import RunFolder
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return {**write_toy(tmp_path, domains=2), "topk": [5], "metrics": ["Recall"], "valid_metric": "Recall@5"}


def trained(model: str, settings: dict[str, Any]) -> Session:
    session = Session.build(RunSpec.of(model, "toy", settings))
    session.run()
    return session


def hits(found: dict[str, Any]) -> float:
    """Mean recall at 5 of the lists."""
    return float(np.mean([len({*e["list"][:5]} & {*e["held"]}) / len(e["held"]) for e in found["users"]]))


@pytest.mark.parametrize("model", ["CMC", "BPR", "ItemKNN"])
def test_the_lists_of_all_users_give_the_recall_of_the_record(toy, monkeypatch, model):
    monkeypatch.setattr(module, "USERS", 1000)
    session = trained(model, toy)
    found = showcase(session)
    metrics = session.evaluate()
    assert hits(found) == pytest.approx(metrics["recall@5"], abs=1e-8)
    assert len(found["users"]) == len(session.trainer.eval_result.queries)
    assert (found["map"] is None) == (model == "ItemKNN")


def test_what_scores_row_by_row_is_not_asked_for_a_catalogue(toy, monkeypatch):
    asked = {"metrics": ["AUC"], "valid_metric": "AUC", "eval_args": {"mode": "uni1"}, "epochs": 1}
    drawn = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
    session = trained("DIN", {**toy, **asked, **drawn, "sequence_split": "interactions"})
    monkeypatch.setattr(session.model, "predict", lambda _: pytest.fail("pairs are scored"))
    assert showcase(session) == {"users": [], "map": None, "items": {}}


def test_lists_hold_no_seen_item_and_one_domain_and_users_are_spread_over_histories(
    toy, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "USERS", 7)
    session = trained("BPR", toy)
    found = showcase(session)
    rows = pd.read_csv(tmp_path / "toy/toy.inter", sep="\t")
    rows.columns = ["user", "item", "rating", "time", "domain", "part"]
    before = rows[rows["part"] != "test"]
    length = before.groupby("user").size()
    users = list(dict.fromkeys(entry["user"] for entry in found["users"]))
    assert len(users) == 7
    asked = length[rows[rows["part"] == "test"]["user"].unique()]
    assert {length[users].min(), length[users].max()} == {asked.min(), asked.max()}
    for entry in found["users"]:
        mine = before[before["user"] == entry["user"]].sort_values("time", kind="stable")["item"].tolist()
        assert entry["history"] == mine[::-1][: module.HISTORY]
        assert (entry["seen"], entry["in_time"]) == (len(mine), True)
        assert not set(entry["list"]) & set(mine)
        assert {found["items"][item]["domain"] for item in entry["list"]} == {entry["domain"]}
        test = rows[
            (rows["part"] == "test") & (rows["user"] == entry["user"]) & (rows["domain"] == entry["domain"])
        ]
        assert sorted(entry["held"]) == sorted(test["item"])


def test_the_map_is_that_of_a_plain_decomposition(toy):
    session = trained("BPR", toy)
    plane = showcase(session)["map"]
    ids = session.dataset.token2id("item_id", plane["item"])
    x = session.model.item_embedding.weight.detach().numpy()[ids].astype(float)
    x -= x.mean(axis=0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    wanted = u[:, :2] * s[:2]
    wanted /= np.abs(wanted).max()
    for axis, name in enumerate("xy"):
        assert np.abs(wanted[:, axis]) == pytest.approx(np.abs(plane[name]), abs=2e-3)
    assert plane["share"] == pytest.approx(s[:2] ** 2 / (s**2).sum(), abs=1e-3)


def test_a_run_without_showcase_gets_one_from_its_weights_once(toy, monkeypatch):
    folder = trained("BPR", toy).trainer.folder
    found = showcase_of(folder)
    assert found == RunFolder.open(folder.path).read_showcase()
    monkeypatch.setattr(module, "showcase", lambda _: 1 / 0)
    assert showcase_of(folder) == found
    (folder.path / "showcase.json").unlink()
    folder.best.unlink()
    assert showcase_of(folder) is None


def test_a_run_stands_without_its_showcase(toy, monkeypatch, caplog):
    monkeypatch.setattr(module, "describe_items", lambda _: 1 / 0)
    session = trained("BPR", toy)
    module.leave_showcase(session)
    assert caplog.messages[-1] == "no lists and no map for the page: division by zero"
    assert session.trainer.folder.finished and session.trainer.folder.read_showcase() is None


def test_titles_categories_and_images_come_from_the_files_of_each_domain(tmp_path, monkeypatch):
    settings = {**write_toy(tmp_path), "load_col": {"inter": ["user_id", "item_id", "part"]}}
    pd.DataFrame(
        {"item_id:token": ["item00", "item01", "item02"], "movie_title:token_seq": ["Zero", "One  b", ""]}
        | {"class:token_seq": ["Drama War", "Comedy", ""]}
    ).to_csv(tmp_path / "toy/toy.item", sep="\t", index=False)
    session = Session(RunSpec.of("BPR", "toy", settings))
    found = describe_items(session.dataset)
    at = session.dataset.token2id("item_id", ["item00", "item01", "item02", "item03"])
    assert found.title[at].tolist() == ["Zero", "One b", "", ""]
    assert found.category[at].tolist() == ["Drama", "Comedy", "", ""]
    pd.DataFrame(
        {"item_id": ["item02", "item03"], "title": ["Two", "Three"], "image_path": ["a.jpg", None]}
        | {"categories": ["Shop|Shoes", "Shop|Hats"]}
    ).to_parquet(tmp_path / "toy/items.parquet")
    found = describe_items(session.dataset)
    assert found.category[at].tolist() == ["Drama", "Comedy", "Shoes", "Hats"]
    assert found.image[at].tolist() == ["", "", str(tmp_path / "toy/a.jpg"), ""]


def test_the_name_of_a_group_is_no_title(tmp_path):
    settings = {**write_toy(tmp_path), "load_col": {"inter": ["user_id", "item_id", "part"]}}
    item = pd.DataFrame({"item_id:token": ["item00"], "product_group_name:token": ["Garment Upper body"]})
    item.to_csv(tmp_path / "toy/toy.item", sep="\t", index=False)
    pd.DataFrame({"item_id": ["item00"], "prod_name": ["Blouse Ida"]}).to_parquet(
        tmp_path / "toy/items.parquet"
    )
    dataset = Session(RunSpec.of("BPR", "toy", settings)).dataset
    found, at = describe_items(dataset), dataset.token2id("item_id", "item00")
    assert (found.title[at], found.category[at]) == ("Blouse Ida", "Garment Upper body")


def test_report_makes_a_page_of_runs_and_refuses_what_is_none(toy, capsys):
    first, second = trained("BPR", toy).trainer.folder.path, trained("ItemKNN", toy).trainer.folder.path
    assert main(["report", str(first), str(second), "--out", "both.html"]) == 0
    assert capsys.readouterr().out.startswith("both.html: ")
    page = Path("both.html").read_text()
    assert all(f'data-name="{name}"' in page for name in ("BPR", "ItemKNN"))
    assert "recall@5" in page and "One user, two models" in page
    assert main(["report", "toy"]) == 2
    assert (
        capsys.readouterr().err
        == "error: toy: no comparison.json and no run there; recbole-mm compare makes one\n"
    )
    other = trained("BPR", {**toy, "mask_seen": "none"}).trainer.folder.path
    assert main(["report", str(first), str(other)]) == 2
    assert "one table asks one question, and BPR 2 and BPR differ in masked" in capsys.readouterr().err


def test_histories_are_in_the_order_of_time(tmp_path: Path) -> None:
    args = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": "user"}
    given = {"eval_args": args, "checkpoint_dir": str(tmp_path), "use_gpu": False}
    session = Session.build(RunSpec("BPR", "ml-100k", given))
    user, item, in_time = module._histories(session)
    part = session.train_data._dataset
    path = Path(session.config["data_path"]) / "ml-100k.inter"
    frame = pd.read_csv(path, sep="\t", dtype={"user_id:token": str, "item_id:token": str})
    at = frame.set_index(["user_id:token", "item_id:token"])["timestamp:float"]
    tokens = [part.field2id_token[name][ids] for name, ids in (("user_id", user), ("item_id", item))]
    times = at.loc[pd.MultiIndex.from_arrays(tokens)].to_numpy()
    assert in_time and (np.diff(times) >= 0).all() and len(times) == len(user) > 80_000

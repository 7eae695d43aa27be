"""Lists for people: those of the evaluation, for users and for histories, with new items, and as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from recbole_mm.cli import main
from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.serve import recommend as module
from recbole_mm.serve.token import nearest
from recbole_mm.testing.shop import write_shop
from tests.serve.conftest import SEQUENCES

Trained = Callable[..., Session]
SHIFTED = {**SEQUENCES, "train_sequences": "shifted"}
MMT = {"hidden_size": 8, "n_heads": 2, "n_layers": 1, "inner_size": 8, "shared_size": 8}
KINDS: list[tuple[str, int, dict[str, Any]]] = [
    ("CMC", 2, {}),
    ("CMC", 2, {"eval_candidates": "all"}),
    ("LightGCN", 1, {"protocol": "mmrec"}),
    ("SASRec", 1, SEQUENCES),
    ("SASRec", 1, {**SEQUENCES, "mask_seen": "none"}),
    ("SASRec", 1, SHIFTED),
    ("DeepFM", 1, {}),
    ("ItemKNN", 2, {}),
]


def users_of(session: Session) -> list[str]:
    return session.dataset.field2id_token["user_id"][1:].tolist()


@pytest.mark.parametrize(("model", "domains", "settings"), KINDS, ids=str)
def test_the_lists_give_the_metrics_of_the_record(
    trained: Trained, model: str, domains: int, settings: dict[str, Any]
) -> None:
    session = trained(model, domains, **settings)
    frame = session.recommend(users_of(session), 5, mask_seen=session.config["mask_seen"])
    rows = session.test_data._dataset.inter_feat
    tokens = session.dataset.field2id_token
    pairs = zip(tokens["user_id"][rows["user_id"]], tokens["item_id"][rows["item_id"]], strict=True)
    place = {
        (user, item): rank for user, item, rank in frame[["user", "item", "rank"]].itertuples(index=False)
    }
    # the toy's users have one test item each
    ranks = [place.get(pair, 0) for pair in pairs]
    assert np.mean([r > 0 for r in ranks]) == pytest.approx(session.stored.record["test_result"]["recall@5"])
    ndcg = np.mean([1 / np.log2(1 + r) if r else 0.0 for r in ranks])
    assert ndcg == pytest.approx(session.stored.record["test_result"]["ndcg@5"], abs=1e-7)
    assert (frame.groupby([c for c in ("user", "domain") if c in frame])["rank"].count() == 5).all()
    assert frame["title"][0] == f"Title of {int(frame['item'][0][4:])}"


def test_a_list_leaves_out_what_was_seen_or_nothing(trained: Trained) -> None:
    session = trained("CMC", 2)
    part = session.train_data._dataset
    token = part.field2id_token
    seen = {
        (token["user_id"][u], token["item_id"][i])
        for phase in ("train", "valid")
        for u, i in zip(*part.pairs[phase], strict=True)
    }
    listed = {
        seen_: set(
            session.recommend(users_of(session), 30, mask_seen=seen_)[["user", "item"]].itertuples(
                index=False
            )
        )
        for seen_ in ("train+valid", "none")
    }
    assert not listed["train+valid"] & seen and listed["none"] == listed["train+valid"] | seen
    assert len(listed["none"]) == 40 * 30


def test_a_domain_alone_in_the_order_asked(trained: Trained) -> None:
    session = trained("CMC", 2)
    frame = session.recommend(["u7", "u3", "u7"], 4, domain="d1")
    assert list(frame["user"]) == ["u7"] * 4 + ["u3"] * 4 and set(frame["domain"]) == {"d1"}
    whole = session.recommend(["u7"], 4)
    assert list(whole["domain"]) == ["d0"] * 4 + ["d1"] * 4
    pd.testing.assert_frame_equal(whole[4:].reset_index(drop=True), frame[:4])
    assert session.recommend([], 3).empty


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("CMC", {"use_id": False}),
        ("MMT", {**MMT, "history_length": 2}),  # less than they took
        ("SASRec", SEQUENCES),
        ("SASRec", SHIFTED),
        ("ItemKNN", {}),
        ("EASE", {}),
        ("MultiDAE", {"train_neg_sample_args": None, "mlp_hidden_size": [8], "latent_dimension": 4}),
    ],
)
def test_a_history_gets_the_list_of_a_user_who_has_it(
    trained: Trained, model: str, settings: dict[str, Any]
) -> None:
    domains = 2 if model in ("CMC", "MMT") else 1
    session = trained(model, domains, **settings)
    part = session.train_data._dataset
    tokens = part.field2id_token["item_id"]
    phases = ("train", "valid") if model == "SASRec" else ("train",)
    for user in ("u1", "u5"):
        number = part.token2id("user_id", user)
        if model == "SASRec":
            rows = session.test_data._dataset.inter_feat
            row = rows[rows["user_id"] == number]
            taken = row["item_id_list"][0, : int(row["item_length"][0])].numpy()
        else:
            taken = np.concatenate([part.pairs[p][1][part.pairs[p][0] == number] for p in phases])
        kind = "train+valid" if model == "SASRec" else "train"
        expected = session.recommend([user], 6, mask_seen=kind).drop(columns="user")
        found = session.recommend(history=tokens[taken].tolist(), k=6)
        pd.testing.assert_frame_equal(found, expected.reset_index(drop=True), rtol=1e-4)


def test_users_without_a_row_in_the_test_are_described_by_their_last_rows(
    trained: Trained, tmp_path: Path
) -> None:
    session = trained("SASRec", 1, **SEQUENCES)
    queries = session.recommender.ranker._queries
    rows = session.test_data._dataset.inter_feat
    expected = rows[rows["user_id"] == 3]
    for without in (2, 1):  # as if there were no test, and no validation either
        frame = (
            session.valid_data._dataset.inter_feat if without == 2 else session.train_data._dataset.inter_feat
        )
        own = np.flatnonzero(frame["user_id"].numpy() == 3)
        last = own[np.argmax(frame["item_length"].numpy()[own])]
        held = queries._part[3], queries._row[3]
        queries._part[3], queries._row[3] = without - 1, last
        found = queries(np.array([5, 3]))
        assert found["user_id"].tolist() == [5, 3]
        queries._part[3], queries._row[3] = held
        length = int(found["item_length"][1])
        assert length == int(expected["item_length"][0]) - (2 - without)
        assert found["item_id_list"][1, :length].tolist() == expected["item_id_list"][0, :length].tolist()
        assert found["timestamp_list"][1, :length].tolist() == expected["timestamp_list"][0, :length].tolist()


def test_users_of_training_alone_are_described_by_all_their_events(trained: Trained) -> None:
    session = trained("SASRec", 1, **SHIFTED)
    queries = session.recommender.ranker._queries
    asked = np.array([7, 3])
    expected = queries(asked)  # of the test
    held = queries._part[asked]
    queries._part[asked] = -1  # as if no part had a row of theirs
    found = queries(asked)
    queries._part[asked] = held
    for name in ("user_id", "item_id_list", "item_length"):
        assert found[name].tolist() == expected[name].tolist()


@pytest.mark.parametrize("model", ["CMC", "VBPR", "MVCNN"])
def test_a_new_item_with_the_vector_of_another_scores_as_that(
    trained: Trained, tmp_path: Path, model: str
) -> None:
    settings = {"use_id": False} if model == "CMC" else {}
    session = trained(model, 1, feature_scaling="standardize", **settings)
    root = Path(session.config["modality_path"])
    for name in ("text", "image"):
        store = ModalityStore.open(root / "toy" / name)
        at = store.tokens.tolist().index("item03")
        ModalityStore.write(tmp_path / name, store.values[at : at + 1], ["new"], modality=name, encoder="toy")
    if model == "VBPR":
        number = session.dataset.token2id("item_id", "item03")
        session.model.item_id.weight.data[number] = 0.0
        session.model.item_bias.weight.data[number] = 0.0
    session.model.forget_cached()
    (tmp_path / "new.txt").write_text("new\nitem01\n")
    options = {"items": tmp_path / "new.txt", "stores": tmp_path, "mask_seen": "none"}
    frame = session.recommend(["u1", "u2"], 31, **options)
    for _, rows in frame.groupby("user"):
        score = rows.set_index("item")["score"]
        assert score["new"] == pytest.approx(score["item03"], rel=1e-5) and len(score) == 31
    if model == "CMC":
        out = tmp_path / "all.parquet"
        session.recommender.write_all(out, 31, **options)
        assert (pd.read_parquet(out)["item"] == "new").sum() == 40


def test_items_without_an_interaction_are_new_though_the_run_loaded_them(tmp_path: Path) -> None:
    columns = {"inter": ["user_id", "item_id"], "item": ["item_id", "class"]}
    given = {**write_shop(tmp_path), "load_col": columns, "valid_metric": "NDCG@5"}
    names = "".join(f"i{item}\tk{item % 4}\tItem {item}\n" for item in range(100))
    (tmp_path / "shop/shop.item").write_text("item_id:token\tclass:token\ttitle:token_seq\n" + names)
    session = Session.build(RunSpec.of("CMC", "shop", given))
    plain = session.recommend(["u1"], 100, mask_seen="none")
    assert len(plain) == 30 and session.dataset.item_num == 101
    found = session.recommend(["u1"], 100, mask_seen="none", items=["i1", "i40", "i99"])
    assert set(found["item"]) - set(plain["item"]) == {"i40", "i99"} and len(found) == 32
    assert found.set_index("item").loc["i99", "title"] == "Item 99"
    # under `catalogue` they are candidates as all others, and none is new
    both = Session.build(RunSpec.of("CMC", "shop", {**given, "candidates": "catalogue"}))
    assert len(both.recommend(["u1"], 200, mask_seen="none", items=["i40"])) == 100


def test_all_users_go_into_a_file_group_by_group(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, out = trained("CMC", 2), tmp_path / "recs.parquet"
    monkeypatch.setattr(module, "GROUP_ROWS", 40)
    monkeypatch.setattr(session.recommender.ranker, "_budget", 300)
    assert session.recommender.write_all(out, 5) == 400
    assert pq.ParquetFile(out).num_row_groups == 9
    found = pd.read_parquet(out).sort_values(["user", "domain", "rank"], ignore_index=True)
    expected = session.recommend(users_of(session), 5).sort_values(
        ["user", "domain", "rank"], ignore_index=True
    )
    pd.testing.assert_frame_equal(found, expected)


def test_a_file_that_was_cut_off_is_not_there(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, lists = trained("CMC", 2), module.Ranker.lists

    def cut(*args: Any) -> Any:
        yield from list(lists(*args))[:1]
        raise KeyboardInterrupt

    monkeypatch.setattr(module.Ranker, "lists", cut)
    monkeypatch.setattr(module, "GROUP_ROWS", 1)
    with pytest.raises(KeyboardInterrupt):
        session.recommender.write_all(tmp_path / "recs.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"users": ["u41"]}, "no user 'u41' in the data of the run; did you mean 'u4'?"),
        ({"users": ["u1", "x", "y"]}, "no user 'x' (and 1 more) in the data of the run"),
        ({"history": ["itme07"]}, "no item 'itme07' in the data of the run; did you mean 'item07'?"),
        ({"users": ["u1"], "domain": "books"}, "no domain 'books'; there are d0, d1"),
        ({"users": ["u1"], "items": ["new"]}, "new items need a domain to belong to: one of d0, d1"),
        ({"users": ["u1"], "k": 0}, "k: expected a number of items from 1 on, got 0"),
        ({"history": []}, "history: it names no item; give those that were taken, in order"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_line(trained: Trained, options: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongUse) as error:
        trained("CMC", 2).recommend(**options)
    assert str(error.value) == message


def test_what_a_model_cannot_do_is_one_line(trained: Trained, tmp_path: Path) -> None:
    graph = trained("LightGCN", 1, protocol="mmrec")
    with pytest.raises(WrongUse, match=r"^LightGCN knows users by an id, so it has no scores for a history"):
        graph.recommend(history=["item01"])
    with pytest.raises(WrongUse, match=r"^LightGCN cannot score items that it was not trained with$"):
        graph.recommend(["u1"], items=["new"])
    with pytest.raises(WrongUse, match=r"^Caser knows users by an id"):
        trained("Caser", 1, **SEQUENCES).recommend(history=["item01"])
    with pytest.raises(
        WrongUse, match=r"^new item 'other' \(and 1 more\) has no vector in .*toy/text, .*toy/image$"
    ):
        trained("CMC", 1).recommend(["u1"], items=["other", "more"])
    (tmp_path / "new.txt").write_text("a\nb\na\n")
    with pytest.raises(WrongUse, match=r"new.txt: token 'a' occurs twice$"):
        trained("CMC", 1).recommend(["u1"], items=tmp_path / "new.txt")


def test_the_command(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = trained("CMC", 2)
    run, out = f"--run={session.folder}", str(tmp_path / "all.parquet")
    assert main(["recommend", run, "--user", "u1", "u2", "--k=2", "--domain=d0", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    expected = session.recommend(["u1"], 2, domain="d0")
    assert first["user"] == "u1" and first["domain"] == "d0" and second["user"] == "u2"
    assert [each["item"] for each in first["items"]] == list(expected["item"])
    checkpoint = f"--checkpoint={session.folder / 'best.pth'}"
    assert main(["recommend", checkpoint, "--history=item01,item02", "--k=1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "domain d0" and "Title of" in said[1] and len(said) == 4
    assert main(["recommend", run, "--all", f"--out={out}", "--k=3"]) == 0
    assert capsys.readouterr().out == f"240 rows for 40 users written to {out}\n"
    for words, message in (
        (["recommend", "--user", "u1"], "name a trained model: --run FOLDER or --checkpoint FILE"),
        (["recommend", run], "say for whom: --user TOKEN, --history ITEM,ITEM or --all --out FILE"),
        (["recommend", run, "--all"], "--all writes a file: name it, --out recs.parquet"),
        (
            ["recommend", run, "--all", "--out=r.csv"],
            "--out r.csv: the file is parquet; name it so, such as recs.parquet",
        ),
    ):
        assert main(words) == 2
        assert capsys.readouterr().err == f"error: {message}\n"


def test_the_nearest_token() -> None:
    assert nearest("12", ["books:12", "films:12", "13"]) == "; did you mean 'books:12' or 'films:12'?"
    many = [f"item{n}" for n in range(30_000)]
    assert nearest("item29999x", many) == "; did you mean 'item29999'?"
    assert nearest("qqq", many) == ""

"""What a converter says of the data set in ``<NAME>.yaml``, and that a run needs nothing more."""

import argparse
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from recbole_mm.cli import main
from recbole_mm.config import Config
from recbole_mm.convert import command
from recbole_mm.convert.atomic import write_atomic


def convert(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([str(word) for word in words]))


def known(name, *keys):
    config = Config("BPR", name, config_dict={"data_path": "dataset"})
    return [config[key] for key in keys]


def write_pairs(folder, name, users, items, more=()):
    rng = np.random.default_rng(0)
    rows = [(u, i) for u in range(users) for i in rng.choice(items, 6, replace=False)]
    frame = pd.DataFrame(rows, columns=["user_id:token", "item_id:token"])
    write_atomic(folder / name, name, frame.assign(**dict(more)))


def run(*words):
    common = ("--epochs=1", "--train_batch_size=64", "--use_gpu=False", "--metrics=['NDCG']", "--topk=5")
    return main(["run", "--model=BPR", *common, *words])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_table_says_its_fields_and_the_columns_that_were_kept(here):
    (here / "i.csv").write_text("u,i,stars,when,part\na,1,5,10,train\nb,2,4,20,test\n")
    words = ("table", "--name", "shop", "--interactions", "i.csv", "--user", "u", "--item", "i")
    convert(*words, "--rating", "stars", "--timestamp", "when", "--keep", "part")
    assert (here / "dataset/shop/shop.yaml").read_text().splitlines()[1:] == [
        "USER_ID_FIELD: user_id",
        "ITEM_ID_FIELD: item_id",
        "RATING_FIELD: rating",
        "TIME_FIELD: timestamp",
        "load_col: {inter: [user_id, item_id, part]}",
    ]
    assert known("shop", "load_col", "TIME_FIELD") == [{"inter": ["user_id", "item_id", "part"]}, "timestamp"]
    assert "shop.yaml" in json.loads((here / "dataset/shop/summary.json").read_text())["files"]


def test_several_amazon_domains_are_a_data_set_too(here):
    for name in ("beauty", "toys"):
        rows = [
            {"reviewerID": f"u{k}", "asin": f"{name}{k % 3}", "overall": 5, "unixReviewTime": k}
            for k in range(6)
        ]
        (here / f"{name}.json.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    convert("amazon", "b=beauty.json.gz", "t=toys.json.gz", "--no-reviews")
    assert known("b", "RATING_FIELD", "TIME_FIELD", "domains") == ["rating", "timestamp", None]
    assert known("b-t", "domains") == [["b", "t"]]
    convert("amazon", "b=beauty.json.gz", "--no-reviews")
    assert sorted(path.name for path in (here / "dataset").iterdir()) == ["b", "b-t", "t"]


def test_movielens_and_atomic_sets(here):
    (here / "ml").mkdir()
    (here / "ml/ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,10\n2,1,3.5,20\n")
    convert("movielens", "ml")
    assert known("ml", "RATING_FIELD", "TIME_FIELD") == ["rating", "timestamp"]
    write_pairs(here, "clicks", 3, 9, {"label:float": 1.0}.items())
    convert("atomic-set", "clicks")
    yaml = (here / "dataset/clicks/clicks.yaml").read_text()
    assert yaml.splitlines()[1:] == [
        "USER_ID_FIELD: user_id",
        "ITEM_ID_FIELD: item_id",
        "LABEL_FIELD: label",
    ]


def test_a_run_on_an_mmrec_split_names_the_data_set_alone(here):
    rng = np.random.default_rng(0)
    (here / "baby").mkdir()
    rows = [(u, i, k) for u in range(20) for k, i in enumerate(rng.choice(30, 6, replace=False))]
    frame = pd.DataFrame(rows, columns=["userID", "itemID", "x_label"])
    frame["x_label"] = (frame["x_label"] - 3).clip(0)
    frame.to_csv("baby/baby.inter", sep="\t", index=False)
    np.save("baby/text_feat.npy", rng.normal(size=(30, 4)).astype(np.float32))
    convert("mmrec", "baby")
    assert known("baby", "benchmark_filename") == [["train", "valid", "test"]]
    assert run("--dataset=baby") == 0


def test_a_run_on_a_recbole_cdr_pair_names_the_data_set_alone(here):
    write_pairs(here / "in", "z", 20, 30)
    write_pairs(here / "in", "a", 20, 25)
    convert("recbole-cdr", "in/z", "in/a", "--separate-items")
    assert known("z-a", "domains", "source_domain", "target_domain") == [["z", "a"], "z", "a"]
    assert run("--dataset=z-a") == 0
    assert run("--dataset=a") == 0


def test_an_edited_yaml_stays_and_an_old_one_does_not(here, capsys):
    (here / "i.csv").write_text("u,i,part\na,1,x\nb,2,y\n")
    words = ("table", "--name", "s", "--interactions", "i.csv", "--user", "u", "--item", "i", "--json", "-")
    file = here / "dataset/s/s.yaml"
    convert(*words)
    plain = file.read_text()
    convert(*words, "--keep", "part")
    assert "load_col" in file.read_text()
    file.write_text(plain + "rm_dup_inter: first\n")
    capsys.readouterr()
    convert(*words)
    assert file.read_text() == plain + "rm_dup_inter: first\n"
    output = capsys.readouterr()
    assert "s.yaml: edited, so it stays" in output.err
    json.loads(output.out)
    assert known("s", "rm_dup_inter") == ["first"]


def test_a_joint_name_that_is_another_data_set_is_left_alone(here):
    write_pairs(here / "dataset", "z-a", 3, 9)
    for name in ("z", "a"):
        write_pairs(here / "in", name, 3, 9)
    convert("recbole-cdr", "in/z", "in/a")
    assert [path.name for path in (here / "dataset/z-a").iterdir()] == ["z-a.inter"]

"""MMRec's split and features."""

import argparse
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from recbole_mm.convert import mmrec
from recbole_mm.errors import WrongUse
from recbole_mm.modality.store import ModalityStore


def convert(*argv):
    parser = argparse.ArgumentParser()
    mmrec.add_arguments(parser)
    return mmrec.main(parser.parse_args([str(arg) for arg in argv]))


def atomic(path):
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


@pytest.fixture
def baby(tmp_path):
    folder = tmp_path / "baby"
    folder.mkdir()
    rows = [
        "0\t0\t5.0\t10\t0",
        "0\t1\t4.0\t20\t1",
        "0\t2\t4.0\t30\t2",
        "1\t3\t1.0\t40\t2",
        "2\t0\t1.0\t50\t0",
    ]
    (folder / "baby.inter").write_text(
        "userID\titemID\trating\ttimestamp\tx_label\n" + "\n".join(rows) + "\n"
    )
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=(4, 3))
    image[2] = 0
    text[1, 0] = np.nan
    np.save(folder / "image_feat.npy", image)
    np.save(folder / "text_feat.npy", text)
    return folder


def run(folder, tmp_path, *more):
    return convert(folder, "--out", tmp_path / "out", "--modality-path", tmp_path / "mod", *more)


def test_split_and_stores(tmp_path, baby):
    run(baby, tmp_path)
    out = tmp_path / "out" / "baby"
    assert atomic(out / "baby.train.inter").values.tolist() == [["0", "0", "5", "10"], ["2", "0", "1", "50"]]
    assert atomic(out / "baby.valid.inter").values.tolist() == [["0", "1", "4", "20"]]
    # user 1 has no training row: left out, as MMRec does
    assert atomic(out / "baby.test.inter").values.tolist() == [["0", "2", "4", "30"]]
    image = ModalityStore.open(tmp_path / "mod/baby/image")
    assert image.tokens.tolist() == ["0", "1", "3"]  # a row of zeros is no vector
    assert np.array_equal(image.values, np.load(baby / "image_feat.npy")[[0, 1, 3]])
    text = ModalityStore.open(tmp_path / "mod/baby/text")
    assert text.tokens.tolist() == ["0", "2", "3"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rows"] == {"train": 2, "valid": 1, "test": 1}
    assert summary["dropped"] == {"no_training_row": 1}
    assert summary["image_share"] == pytest.approx(2 / 3)
    assert summary["problems"]["empty_vector"]["count"] == 2


def test_cold_users_on_request(tmp_path, baby):
    run(baby, tmp_path, "--keep-cold-users")
    assert len(atomic(tmp_path / "out/baby/baby.test.inter")) == 2


def test_original_ids_and_texts(tmp_path, baby):
    (baby / "i_id_mapping.csv").write_text("asin\titemID\nB0\t0\nB1\t1\nB2\t2\nB3\t3\n")
    (baby / "u_id_mapping.csv").write_text("user_id\tuserID\nU0\t0\nU1\t1\nU2\t2\n")
    (baby / "meta-baby.csv").write_text("itemID,asin,title\n0,B0,Bib\n3,B3,Cup\n")
    run(baby, tmp_path, "--original-ids")
    assert atomic(tmp_path / "out/baby/baby.train.inter").values.tolist()[1][:2] == ["U2", "B0"]
    assert ModalityStore.open(tmp_path / "mod/baby/image").tokens.tolist() == ["B0", "B1", "B3"]
    items = pq.read_table(tmp_path / "out/baby/items.parquet").to_pylist()
    assert items[0] == {"item_id": "B0", "title": "Bib"}
    assert items[1] == {"item_id": "B1", "title": None}


def test_strict_and_wrong_folders(tmp_path, baby):
    with pytest.raises(WrongUse, match="2 x empty_vector"):
        run(baby, tmp_path, "--strict")
    assert not (tmp_path / "mod").exists()
    np.save(baby / "text_feat.npy", np.ones((2, 3)))
    with pytest.raises(WrongUse, match=r"2 rows, but baby\.inter has item 2"):
        run(baby, tmp_path)
    np.save(baby / "text_feat.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(WrongUse, match="no plain array"):
        run(baby, tmp_path)
    (baby / "baby.inter").write_text("userID\titemID\n1\t2\n")
    with pytest.raises(WrongUse, match="expected userID, itemID, x_label"):
        run(baby, tmp_path)


def own_store(folder, source):
    ModalityStore.write(
        folder, np.ones((2, 2), np.float32), ["x", "y"], modality="image", encoder="clip", source=source
    )


def test_a_store_of_another_source_is_replaced_on_request_only(tmp_path, baby):
    own_store(tmp_path / "mod/baby/image", "photos")
    said = "a store made from photos is there; give another --modality-path, or --overwrite to replace it"
    with pytest.raises(WrongUse, match=said):
        run(baby, tmp_path)
    assert ModalityStore.open(tmp_path / "mod/baby/image").encoder == "clip"
    assert not (tmp_path / "out/baby").exists()
    assert not (tmp_path / "mod/baby/text").exists()
    run(baby, tmp_path, "--overwrite")
    run(baby, tmp_path)  # its own need no word
    assert ModalityStore.open(tmp_path / "mod/baby/image").encoder == "mmrec"
    (tmp_path / "other/baby/text").mkdir(parents=True)
    with pytest.raises(WrongUse, match="exists and is no modality store"):
        convert(baby, "--out", tmp_path / "out", "--modality-path", tmp_path / "other")


def test_nothing_is_replaced_where_a_modality_has_no_vector(tmp_path, baby):
    run(baby, tmp_path)
    before = (tmp_path / "mod/baby/image/manifest.json").read_bytes()
    np.save(baby / "image_feat.npy", np.ones((4, 6), np.float32))
    np.save(baby / "text_feat.npy", np.zeros((4, 3)))
    with pytest.raises(WrongUse, match=r"text_feat\.npy: every row is zero or NaN"):
        run(baby, tmp_path)
    assert (tmp_path / "mod/baby/image/manifest.json").read_bytes() == before


def test_stores_come_last(tmp_path, baby):
    (tmp_path / "out/baby/baby.train.inter").mkdir(parents=True)  # in the way of a file
    with pytest.raises(IsADirectoryError):
        run(baby, tmp_path)
    assert not (tmp_path / "mod").exists()


def test_two_items_of_one_original_id(tmp_path, baby):
    (baby / "i_id_mapping.csv").write_text("asin\titemID\nB0\t0\nB0\t1\nB2\t2\nB3\t3\n")
    (baby / "u_id_mapping.csv").write_text("user_id\tuserID\nU0\t0\nU1\t1\nU2\t2\n")
    with pytest.raises(WrongUse, match="two items of the original id 'B0'"):
        run(baby, tmp_path, "--original-ids")

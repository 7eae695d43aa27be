"""Tables of ids in which a row has not the fields of the header: a vector would get another item's id."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from recbole_mm.errors import WrongUse
from recbole_mm.modality import command


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((3, 2), np.float32))
    return tmp_path


def build(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(
        parser.parse_args(["build", "--modality", "text", "--encoder", "toy", "--out", "s", *words])
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title,id\nred, shoe,007\nhat,b\ncoat,ü\n", "i.csv, line 2: 3 fields, the header has 2"),
        ("title,id\nshoe,007\nhat\ncoat,ü\n", "i.csv, line 3: 1 fields, the header has 2"),
        ("id,title,id\n007,a,1\nb,b,2\nü,c,3\n", "i.csv: column 'id' is there twice; rename one"),
        ('title,id\n"a,007\n"b,b\n"c,ü\n', "i.csv, line 2: text behind a closed quote"),
    ],
)
def test_ids_of_a_ragged_table_are_refused(folder, text, said):
    Path("i.csv").write_text(text, encoding="utf-8")
    with pytest.raises(WrongUse, match=said):
        build("--values", "x.npy", "--ids", "i.csv", "--ids-column", "id")


def test_an_id_may_be_on_a_blank_line(folder):
    """A table of one column has an empty id there, which is named as such, and no row moves up."""
    Path("i.csv").write_text("id\n007\n\nü\n", encoding="utf-8")
    with pytest.raises(WrongUse, match="token of row 1 is empty"):
        build("--values", "x.npy", "--ids", "i.csv")

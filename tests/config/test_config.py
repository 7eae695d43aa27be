from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pytest
import torch

import recbole_mm  # noqa: F401
from recbole_mm.config import Config
from recbole_mm.config.known import unknown_keys
from recbole_mm.config.properties import load_internal, recbole_dir
from recbole_mm.errors import WrongUse
from recbole_mm.files import properties_dir
from recbole_mm.model import get_model, model_names


def config(*args: str, model: str = "BPR", files: list[Path] | None = None, **settings: object) -> Config:
    return Config(model, "ml-100k", [str(file) for file in files or []], settings, args)


def line(*args: str, **settings: object) -> str:
    with pytest.raises(WrongUse) as raised:
        config(*args, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_command_line_over_dict_over_files_over_defaults(tmp_path: Path) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text("epochs: 1\nseed: 1\nstopping_step: 1\neval_step: 2\n")
    b.write_text("epochs: 2\nseed: 2\nstopping_step: 2\n")
    made = config("--epochs=4", files=[a, b], epochs=3, seed=3)
    assert [made[k] for k in ("epochs", "seed", "stopping_step", "eval_step")] == [4, 3, 2, 2]
    assert made["train_batch_size"] == 2048
    assert made.sources["epochs"] == "command line" and made.sources["eval_step"] == str(a)


def test_layers_of_the_packages() -> None:
    made = config(model="CMC")
    assert made["train_neg_sample_args"]["sample_num"] == 64  # properties/model/CMC.yaml
    assert made["strict_config"] is True  # properties/overall.yaml
    assert made["load_col"]["inter"] == [
        "user_id",
        "item_id",
        "rating",
        "timestamp",
    ]  # RecBole's ml-100k.yaml
    assert config(model="LightGCN")["reg_weight"] == 1e-5  # RecBole's LightGCN.yaml


def test_a_yaml_beside_the_data_is_a_layer_and_is_checked(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "shop.inter").write_text("user_id:token\titem_id:token\nu\ti\n")
    (folder / "shop.yaml").write_text("RATING_FIELD: stars\nepochs: 5\n")
    made = Config("BPR", "shop", config_dict={"data_path": str(tmp_path), "epochs": 6})
    assert made["RATING_FIELD"] == "stars" and made["epochs"] == 6
    (folder / "shop.yaml").write_text("RATING_FEILD: stars\n")
    with pytest.raises(
        WrongUse, match=r"unknown key 'RATING_FEILD' \(.*shop.yaml\); did you mean 'RATING_FIELD'"
    ):
        Config("BPR", "shop", config_dict={"data_path": str(tmp_path)})


def test_the_program_s_arguments_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--epochs=7", "--nonsense=1"])
    assert config()["epochs"] == 300


def test_what_was_passed_is_not_written_to() -> None:
    from recbole.utils import argument_list

    settings = {"train_neg_sample_args": {"sample_num": 2, "distribution": "uniform"}, "epochs": "3"}
    keys = list(argument_list.dataset_arguments)
    made = Config("BPR", "ml-100k", config_dict=settings)
    assert made["train_neg_sample_args"]["alpha"] == 1.0 and made["epochs"] == 3
    assert settings == {"train_neg_sample_args": {"sample_num": 2, "distribution": "uniform"}, "epochs": "3"}
    assert argument_list.dataset_arguments == keys


def test_cuda_stays_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert config(use_gpu=False)["device"] == torch.device("cpu")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert config()["device"] == torch.device("cpu")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("--learnign_rate=0.1", "unknown key 'learnign_rate' (command line); did you mean 'learning_rate'?"),
        ("--learning-rate=0.1", "unknown key 'learning-rate' (command line); did you mean 'learning_rate'?"),
        ("--modalites=[text]", "unknown key 'modalites' (command line); did you mean 'modalities'?"),
        ("--epochs=ten", "epochs: expected int, got 'ten' (command line)"),
        ("--epochs=True", "epochs: expected int, got True (command line)"),
        ("--epochs=2.5", "epochs: expected int, got 2.5 (command line)"),
        ("--epochs=-1", "epochs: expected a value >= 0, got -1 (command line)"),
        ("--learning_rate=0", "learning_rate: expected a value > 0, got 0 (command line)"),
        ("--train_batch_size=0", "train_batch_size: expected a value >= 1, got 0 (command line)"),
        ("--shuffle=1", "shuffle: expected bool, got 1 (command line)"),
        ("--topk=[5,0]", "topk: expected a value made of positive integers, got [5, 0] (command line)"),
        ("--topk=ten", "topk: expected int or list, got 'ten' (command line)"),
        ("--eval_args=full", "eval_args: expected dict, got 'full' (command line)"),
        ("--eval_args={'mod':'full'}", "eval_args: unknown part 'mod'; did you mean 'mode'? (command line)"),
        ("--min_coverage=2", "min_coverage: expected a value between 0 and 1, got 2 (command line)"),
        ("--evaluator=ours", "evaluator: expected one of mm, recbole, got 'ours' (command line)"),
    ],
)
def test_wrong_keys_and_values(arg: str, message: str) -> None:
    assert line(arg) == message


def test_the_file_is_named_and_all_errors_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("epochs: ten\nlearnign_rate: 1\n")
    assert line(files=[file], emebdding_size=3) == (
        f"unknown key 'learnign_rate' ({file}); did you mean 'learning_rate'?; "
        "unknown key 'emebdding_size' (config_dict); did you mean 'embedding_size'?"
    )
    file.write_text("epochs: ten\nseed: x\n")
    assert (
        line(files=[file])
        == f"epochs: expected int, got 'ten' ({file}); seed: expected int, got 'x' ({file})"
    )


def test_not_strict_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = config("--learnign_rate=0.1", "--strict_config=False")
    assert made["learnign_rate"] == 0.1
    assert "did you mean 'learning_rate'" in caplog.text


@pytest.mark.parametrize(
    ("args", "key", "value"),
    [
        (["--topk=5,10"], "topk", [5, 10]),
        (["--topk=20"], "topk", [20]),
        (["--epochs=2e1"], "epochs", 20),
        (["--gpu_id=0,1"], "gpu_id", "0,1"),
        (["--metrics=Recall"], "metrics", ["Recall"]),
        (["--weight_decay=0"], "weight_decay", 0),
        (["--train_neg_sample_args={'distribution': 'none', 'sample_num': 'none'}", "--model=x"], None, None),
        (["--load_col=None"], "load_col", None),
        (["--checkpoint_dir=123"], "checkpoint_dir", "123"),
        (["--user_inter_num_interval=[10,inf)"], "user_inter_num_interval", "[10,inf)"),
        (["--has_residual=True"], "has_residual", True),  # read in RecBole's code, declared nowhere
        (["--nproc=1"], "nproc", 1),
    ],
)
def test_values_that_are_right(args: list[str], key: str | None, value: object) -> None:
    made = config(*args, model="EASE" if key is None else "BPR")
    if key:
        assert made[key] == value
        assert type(made[key]) is type(value)
    else:
        assert made["train_neg_sample_args"]["distribution"] == "none"


def test_every_key_that_recbole_reads_is_known() -> None:
    read = [
        "tail_ratio",
        "contrast",
        "sim",
        "xgb_early_stopping_rounds",
        "has_residual",
        "cin",
        "use_filter",
        "encoding",
    ]
    assert unknown_keys(read, (), get_model("BPR")) == {}
    assert unknown_keys(["nobody_reads_this"], (), get_model("BPR")) == {"nobody_reads_this": ""}


def test_keys_of_a_model_of_one_s_own_are_known(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from recbole.model.general_recommender import BPR\n"
        "class Own(BPR):\n"
        "    def __init__(self, config, dataset):\n"
        "        super().__init__(config, dataset)\n"
        "        self.a, self.b = config['own_width'], config.get('own_depth')\n"
        "        self.c = config['own_maybe'] if 'own_maybe' in config else 0\n"
    )
    made = Config(f"{file}:Own", "ml-100k", cli_args=["--own_width=3", "--own_depth=1", "--own_maybe=2"])
    assert made["model"] == "Own" and made.model_spec == f"{file}:Own" and made["own_width"] == 3
    with pytest.raises(WrongUse, match=r"'own_widht'.*did you mean 'own_width'"):
        Config(f"{file}:Own", "ml-100k", cli_args=["--own_widht=3"])
    # and unknown to a model that does not read it
    assert "own_width" in line("--own_width=3")


def yamls_of_models() -> dict[str, Path]:
    """Of each model that has one, ours and RecBole's, which spells some files in lower case."""
    names = {name.lower(): name for name in model_names()}
    files = [
        file
        for root in (properties_dir(), recbole_dir() / "properties")
        for file in sorted((root / "model").glob("*.yaml"))
    ]
    return {names[file.stem.lower()]: file for file in files if file.stem.lower() in names}


@pytest.mark.parametrize(("model", "file"), yamls_of_models().items())
def test_every_yaml_of_ours_and_recboles_is_valid_to_itself(model: str, file: Path) -> None:
    try:
        Config(model, "ml-100k", config_dict=load_internal(file))
    except WrongUse as error:  # of the keys nothing, or they would be named first
        assert re.fullmatch(rf"model {model} needs the library .*", str(error))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("MRR@10", 5, [10])),
        ({"valid_metric": "NDCG@20"}, ("NDCG@20", 5, [10, 20])),
        ({"valid_metric": "GAUC"}, ("GAUC", 6, [10])),
        ({"metrics": ["NDCG", "GAUC"]}, ("NDCG@10", 2, [10])),
        ({"metrics": ["GAUC"]}, ("GAUC", 1, [10])),
        ({"topk": [5, 20]}, ("MRR@5", 5, [5, 20])),
        ({"metrics": ["NDCG", "F1", "MeanAUC", "AUC"]}, ("NDCG@10", 4, [10])),
    ],
)
def test_the_validation_metric_is_computed(settings: dict, expected: tuple) -> None:
    made = config(**settings)
    assert (made["valid_metric"], len(made["metrics"]), made["topk"]) == expected
    assert made["eval_type"].name == "RANKING" and made["valid_metric_bigger"] is True


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"valid_metric": "NDCG@20", "topk": [5]}, "add 20 to topk"),
        ({"valid_metric": "NDCG@10", "metrics": ["Recall"]}, "add NDCG to metrics"),
        ({"valid_metric": "NDCG"}, "should read 'NDCG@10'"),
        ({"valid_metric": "GAUC@10"}, "should read 'GAUC'"),
        ({"valid_metric": "NDGC@10"}, "did you mean 'NDCG@10'"),
        ({"metrics": ["NDCGG"]}, "no metric 'NDCGG'; did you mean 'NDCG'"),
        ({"metrics": []}, "the list is empty"),
        ({"metrics": ["NDCG", "LogLoss"]}, "cannot share a run"),
        ({"metrics": ["NDCG", "AUC"], "evaluator": "recbole"}, "cannot share a run"),
        ({"metrics": ["LogLoss"]}, "Full sort evaluation do not match"),
        ({"eval_args": {"mode": "fulll"}}, "expected full, labeled, uniN"),
        ({"eval_args": {"mode": {"validation": "full"}}}, "expected the keys valid and test"),
        ({"train_neg_sample_args": None}, "BPR learns from pairs and needs negatives"),
        (
            {"model": "SASRec", "train_neg_sample_args": {"sample_num": 1, "distribution": "uniform"}},
            "should be None",
        ),
        ({"model": "SASRec", "repeatable": False}, "repeatable"),
    ],
)
def test_settings_at_odds_are_one_line(settings: dict, words: str) -> None:
    assert words in line(**settings)


def test_a_metric_that_a_person_registered_in_recbole(monkeypatch: pytest.MonkeyPatch) -> None:
    from recbole.evaluator import register
    from recbole.evaluator.metrics import Hit

    own = type("HitTwice", (Hit,), {"smaller": True})
    for registry, entry in (
        (register.metrics_dict, own),
        (register.metric_types, own.metric_type),
        (register.metric_information, own.metric_need),
    ):
        monkeypatch.setitem(registry, "hittwice", entry)
    monkeypatch.setattr(register, "smaller_metrics", [*register.smaller_metrics, "hittwice"])
    made = config(metrics=["HitTwice"], valid_metric="HitTwice@10", evaluator="recbole")
    assert made["metrics"] == ["HitTwice"] and made["valid_metric_bigger"] is False


def test_more_processes_are_said_to_have_no_effect() -> None:
    (note,) = config("--nproc=2").notes
    assert "nproc: 2 has no effect" in note and "recbole.quick_start.run" in note and "--gpu_id" in note
    assert config("--nproc=1").notes == [] and line("--nproc=0") and line("--nproc=two")


def test_lists_of_one_positive_are_a_protocol() -> None:
    with pytest.raises(
        WrongUse, match=r"^eval_args.mode: sampled-9 is a protocol; set mode: full and protocol: sampled-9$"
    ):
        config(eval_args={"mode": {"valid": "full", "test": "sampled-9"}})


def test_no_model_or_data_set_given() -> None:
    with pytest.raises(WrongUse, match="no model given"):
        Config(dataset="ml-100k")
    with pytest.raises(WrongUse, match="no data set given"):
        Config("BPR")
    assert Config(cli_args=["--model=BPR", "--dataset=ml-100k"])["model"] == "BPR"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("eval_setting", "RO_RS,full"),
        ("learning_rate", 0),
        ("learning_rate", "fast"),
        ("epochs", -1),
        ("train_batch_size", 0),
        ("embedding_size", 0),
        ("train_neg_sample_args", {"uniform": 1}),
        ("eval_args", {"split": {"RS": [8, 1, 1]}, "grouping": "user"}),
    ],
)
def test_what_our_commands_refuse_is_a_warning_elsewhere(
    key: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """docs/recbole.md, Where we differ on purpose; `register` turns `strict_config` off."""
    with pytest.raises(WrongUse, match=key) as refused:
        Config("BPR", "ml-100k", config_dict={key: value})
    assert caplog.messages == []
    assert Config("BPR", "ml-100k", config_dict={key: value, "strict_config": False})["epochs"] is not None
    assert caplog.messages == [str(refused.value)]

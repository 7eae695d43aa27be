from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recbole_mm  # noqa: F401  (before recbole: makes it work on current libraries)

recbole = pytest.importorskip("recbole")

EXAMPLE = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"
USERS, ITEMS = 40, 400


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first users and items of the ml-100k that comes with RecBole."""
    root = tmp_path_factory.mktemp("data")
    (root / "ml-cut").mkdir()
    for path in EXAMPLE.iterdir():
        frame = pd.read_csv(path, sep="\t", dtype=str)
        if "user_id:token" in frame:
            frame = frame[frame["user_id:token"].astype(int) <= USERS]
        if "head_id:token" in frame:
            frame = frame[:3000]
        if "item_id:token" in frame:
            frame = frame[frame["item_id:token"].astype(int) <= ITEMS]
        frame.to_csv(root / "ml-cut" / path.name.replace("ml-100k", "ml-cut"), sep="\t", index=False)
    return root


@pytest.fixture
def build(small: Path, monkeypatch: pytest.MonkeyPatch):
    """Make (config, model, trainer, loaders) with RecBole alone.

    The models are as initialised: what is compared does not depend on training, and training takes the time.
    """
    monkeypatch.setattr("sys.argv", ["pytest"])

    def make(name: str, **settings):
        import torch
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer, init_seed

        torch.set_num_threads(1)
        values = {
            "data_path": str(small),
            "checkpoint_dir": str(small / "saved"),
            "use_gpu": False,
            "show_progress": False,
            "metric_decimal_place": 8,
            "train_batch_size": 1024,
            "load_col": {
                "inter": ["user_id", "item_id", "rating", "timestamp"]
            },  # RecBole knows its own ml-100k only
            "seed": 7,
            **settings,
        }
        config = Config(model=name, dataset="ml-cut", config_dict=values)
        init_seed(config["seed"], True)
        dataset = create_dataset(config)
        loaders = data_preparation(config, dataset)
        model = get_model(name)(config, loaders[0]._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
        return config, model, trainer, loaders

    return make


@pytest.fixture
def reseed() -> Callable[[], None]:
    """The draws of RecBole's uniN and popN come from numpy's and Python's global generators."""

    def fix() -> None:
        np.random.seed(3)
        random.seed(3)

    return fix

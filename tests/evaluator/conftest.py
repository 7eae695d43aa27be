from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import recbole_mm  # noqa: F401  (before recbole: makes it work on current libraries)
from recbole_mm.config import Config
from recbole_mm.data import create_dataset, data_preparation

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
def build(small: Path):
    """Make (config, model, trainer, loaders) of RecBole, on our configuration and data set.

    The models are as initialised: what is compared does not depend on training, and training takes the time.
    """

    def make(name: str, **settings):
        from recbole.data import data_preparation as recbole_loaders
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
        loaders = recbole_loaders(config, dataset)
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


class Table(torch.nn.Module):
    """A model whose scores are given: [users, items]."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = scores
        self.device = torch.device("cpu")

    def full_sort_predict(self, interaction):
        return self.scores[interaction["user_id"]].clone()

    def predict(self, interaction):
        return self.scores[interaction["user_id"], interaction["item_id"]]


@pytest.fixture
def toy(tmp_path: Path):
    """Make (config, loaders, model): 20 users, 30 items, two domains (odd and even ids), scores with ties.

    Item 30 has no training row; user 20 trained in one domain only.
    """

    def make(**settings):
        rng = np.random.default_rng(1)
        rows = {"train": [], "valid": [], "test": []}
        for user in range(1, 21):
            pool = np.arange(1, 31, 2 if user == 20 else 1)
            items = rng.permutation(pool[pool < 30])[:12]
            rows["train"] += [(user, i) for i in items[:7]]
            rows["valid"] += [(user, i) for i in items[7:8]]
            rows["test"] += [(user, i) for i in [*items[8:], *([30] if user < 5 else [])]] * (user != 19)
        rows["train"] += [(u, i) for u, i in [(1, 1), (1, 1)]] * 2  # repeated rows
        rows["test"] += rows["test"][:2]
        (tmp_path / "toy").mkdir(exist_ok=True)
        for part, pairs in rows.items():
            lines = ["user_id:token\titem_id:token", *(f"u{u}\ti{i}" for u, i in pairs)]
            (tmp_path / "toy" / f"toy.{part}.inter").write_text("\n".join(lines) + "\n")
        values = {
            "data_path": str(tmp_path),
            "checkpoint_dir": str(tmp_path / "saved"),
            "benchmark_filename": ["train", "valid", "test"],
            "load_col": {"inter": ["user_id", "item_id"]},
            "use_gpu": False,
            "metrics": ["NDCG", "Recall", "MeanAUC", "GAUC"],
            "topk": [5],
            "valid_metric": "NDCG@5",
            "metric_decimal_place": 10,
            "eval_args": {"group_by": "user", "order": "RO", "split": {"RS": [8, 1, 1]}, "mode": "full"},
            **settings,
        }
        config = Config(model="BPR", dataset="toy", config_dict=values)
        loaders = data_preparation(config, create_dataset(config))
        dataset = loaders[2]._dataset
        number = [0 if t == "[PAD]" else int(t[1:]) for t in dataset.field2id_token["item_id"]]
        domain = torch.tensor([-1 if n == 0 else n % 2 for n in number])
        for loader in loaders[1:]:
            loader._dataset.toy_domain = domain
        generator = torch.Generator().manual_seed(0)
        scores = torch.randint(12, (dataset.user_num, dataset.item_num), generator=generator).float()
        return config, loaders, Table(scores)

    return make

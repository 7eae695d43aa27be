"""One thread for every test and every process a test starts: small models, and 30 times faster on shared cores.

The examples of property tests are the same in every run; `HYPOTHESIS_PROFILE=default` looks for new ones.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"
settings.register_profile("same", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

USER, ITEM, TIME = "user_id:token", "item_id:token", "timestamp:float"


@pytest.fixture(scope="session")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 users, 120 popular items and at most 20 rows a user of ml-100k, with the knowledge about the items."""
    import pandas as pd

    from recbole_mm.config.properties import recbole_dir

    folder = tmp_path_factory.mktemp("cut") / "ml-100k"
    folder.mkdir()

    def read(suffix: str) -> Any:
        file = recbole_dir() / f"dataset_example/ml-100k/ml-100k.{suffix}"
        return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)

    inter = read("inter")
    inter = inter[inter[ITEM].isin(inter[ITEM].value_counts().index[:120])]
    inter = inter.assign(at=inter[TIME].astype(float)).sort_values("at", kind="stable").groupby(USER).tail(20)
    inter = inter[inter[USER].isin(sorted(inter[USER].unique())[:100])].drop(columns="at")
    item, user, link, kg = read("item"), read("user"), read("link"), read("kg")
    link = link[link[ITEM].isin(inter[ITEM])]
    kg = kg[kg["head_id:token"].isin(link["entity_id:token"])].groupby("head_id:token").head(20)
    item, user = item[item[ITEM].isin(inter[ITEM])], user[user[USER].isin(inter[USER])]
    for suffix, frame in {"inter": inter, "item": item, "user": user, "link": link, "kg": kg}.items():
        frame.to_csv(folder / f"ml-100k.{suffix}", sep="\t", index=False)
    return folder.parent

"""A shop with times, kinds, vectors and knowledge of items, and more items in its catalogue than were sold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.modality import ModalityStore

USERS, SOLD, ITEMS = 60, 30, 100


def write_shop(folder: Path, rows: int = 8) -> dict[str, Any]:
    """Write the data set ``shop`` and its store; return the settings that load it.

    Args:
        folder: an empty folder.
        rows: of each of the 60 users, of different items out of the 30 sold; the first user has two.
    """
    rng = np.random.default_rng(3)
    (folder / "shop").mkdir(parents=True)
    inter = pd.DataFrame(
        [
            (f"u{user}", f"i{item}", 1 + item % 5, 1000 * user + k)
            for user in range(USERS)
            for k, item in enumerate(rng.permutation(SOLD)[: rows if user else 2])
        ],
        columns=["user_id:token", "item_id:token", "rating:float", "timestamp:float"],
    )
    inter.to_csv(folder / "shop/shop.inter", sep="\t", index=False)
    tokens = np.array([f"i{item}" for item in range(ITEMS)])
    kinds = [f"k{item % 4}" for item in range(ITEMS)]
    items = pd.DataFrame({"item_id:token": tokens, "class:token": kinds})
    items.to_csv(folder / "shop/shop.item", sep="\t", index=False)
    (folder / "shop/shop.link").write_text(
        "item_id:token\tentity_id:token\n" + "".join(f"i{item}\te{item}\n" for item in range(SOLD))
    )
    triples = [(f"e{item}", "of_kind", f"kind{item % 4}") for item in range(SOLD)]
    columns = ["head_id:token", "relation_id:token", "tail_id:token"]
    pd.DataFrame(triples, columns=columns).to_csv(folder / "shop/shop.kg", sep="\t", index=False)
    values = rng.standard_normal((ITEMS, 6)).astype(np.float32)
    ModalityStore.write(folder / "modality/shop/text", values, tokens, modality="text", encoder="toy")
    return {
        "data_path": str(folder),
        "modality_path": str(folder / "modality"),
        "checkpoint_dir": str(folder / "saved"),
        "epochs": 1,
        "use_gpu": False,
        "show_progress": False,
        "metrics": ["NDCG"],
        "topk": [5],
        "metric_decimal_place": 8,
    }

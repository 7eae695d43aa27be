"""Time of an evaluation against RecBole's own and against a floor, all in one run.

    python benchmarks/evaluator.py [--cases small,gauc,large,sequential] [--repeat 5] [--skip-recbole]

One JSON line a case: users, items, metrics, ratio_recbole (RecBole's time / ours), ratio_floor (ours / floor's),
peak_mib (memory above model and data at our highest). The floor is the bare matrix product, the mask with histories
ready, and ``torch.topk``, in batches of the size we use (which is also the quickest for it); with GAUC one comparison
pass of the row for each positive comes on top. Ours is timed from the call to the dictionary of metrics, the reading of
histories included. Contenders take turns and the best time of each counts, so that other work on the machine weighs
on all alike.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import peak_above

import recbole_mm  # noqa: F401  (before recbole)
from recbole_mm.evaluator import Evaluator
from recbole_mm.evaluator.evaluator import CPU_MIB

METRICS = ["Recall", "NDCG", "MRR", "Precision", "Hit"]
K, WIDTH = 20, 64
# Some of the items of the long catalogues are drawn by nobody; some 100,000 remain.
CASES: dict[str, dict[str, Any]] = {
    "small": {"users": 6_000, "items": 3_700, "train": 120, "test": 16, "metrics": METRICS},
    "gauc": {"users": 6_000, "items": 3_700, "train": 120, "test": 16, "metrics": [*METRICS, "GAUC"]},
    "large": {"users": 20_000, "items": 100_700, "train": 20, "test": 4, "metrics": METRICS},
    "sequential": {"users": 5_000, "items": 111_000, "train": 51, "test": 1, "metrics": METRICS},
}


def interactions(case: dict[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and part (0 training, 1 validation, 2 test) of synthetic rows, no pair twice."""
    sizes = (case["train"], 1, case["test"])
    users, items, parts = [], [], []
    for user in range(case["users"]):
        chosen = rng.choice(case["items"], sum(sizes), replace=False)
        users.append(np.full(len(chosen), user))
        items.append(chosen)
        parts.append(np.repeat([0, 1, 2], sizes))
    return np.concatenate(users), np.concatenate(items), np.concatenate(parts)


def build(case: dict[str, Any], sequential: bool, folder: Path) -> tuple[Any, Any, Any, Any, Any]:
    """config, model, RecBole's trainer, training loader, test loader."""
    from recbole.utils import get_trainer

    from recbole_mm import Session
    from recbole_mm.run.spec import RunSpec

    user, item, part = interactions(case, np.random.default_rng(0))
    for index, name in enumerate(("train", "valid", "test")):
        rows = np.flatnonzero(part == index)
        lines = ["user_id:token\titem_id:token"]
        if sequential:  # ready-made sequences, as RecBole's benchmark files have them
            lines[0] = "user_id:token\titem_id_list:token_seq\titem_id:token"
            history = rows.reshape(case["users"], -1)
            before = item.reshape(case["users"], -1)[:, : case["train"] - 1]
            lines += [
                f"u{user[h[-1]]}\t{' '.join(f'i{i}' for i in b)}\ti{item[h[-1]]}"
                for h, b in zip(history, before, strict=True)
            ]
        else:
            lines += [f"u{user[r]}\ti{item[r]}" for r in rows]
        path = folder / "bench" / f"bench.{name}.inter"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    name = "SASRec" if sequential else "BPR"
    columns = ["user_id", "item_id_list", "item_id"] if sequential else ["user_id", "item_id"]
    settings: dict[str, Any] = {
        "data_path": str(folder), "checkpoint_dir": str(folder / "saved"),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": columns}, "metrics": case["metrics"], "topk": [K], "valid_metric": f"NDCG@{K}",
        "embedding_size": WIDTH, "use_gpu": False, "show_progress": False, "state": "ERROR", "seed": 1,
        "eval_args": {"order": "TO" if sequential else "RO", "split": {"RS": [8, 1, 1]}, "mode": "full"},
    }  # fmt: skip
    if sequential:
        settings |= {
            "alias_of_item_id": ["item_id_list"],
            "train_neg_sample_args": None,
            "MAX_ITEM_LIST_LENGTH": 50,
        }
    session = Session.build(RunSpec.of(name, "bench", settings))
    config, model = session.config, session.model.eval()
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    return config, model, trainer, session.train_data, session.test_data


def floor(model: Any, test: Any, *, gauc: bool) -> Callable[[], None]:
    """The least any evaluator does: product, mask, top-k (and a comparison pass for each positive)."""
    n = test._dataset.item_num
    rows = max(1, CPU_MIB * 2**20 // 4 // n)
    users = test.uid_list
    item_emb = model.item_embedding.weight.detach()
    user_emb = model.user_embedding.weight.detach()
    batches = []
    for start in range(0, len(users), rows):
        part = users[start : start + rows]
        history, positive = test.uid2history_item[part.numpy()], test.uid2positive_item[part.numpy()]
        at = torch.cat([torch.full_like(h, i) for i, h in enumerate(history)])
        width = max(len(p) for p in positive)
        padded = torch.stack(
            [torch.nn.functional.pad(p, (0, width - len(p)), value=int(p[0])) for p in positive]
        )
        batches.append((part, (at, torch.cat(list(history))), padded))

    def run() -> None:
        for part, history, positive in batches:
            scores = user_emb[part] @ item_emb.T
            scores[:, 0] = -torch.inf
            scores[history] = -torch.inf
            torch.topk(scores, K, dim=1)
            if gauc:
                own = scores.gather(1, positive)
                for j in range(own.shape[1]):
                    (scores > own[:, j : j + 1]).sum(1)

    return run


def sequential_floor(model: Any, test: Any) -> Callable[[], None]:
    """The model's own scores in batches of our size, and ``torch.topk``: nothing is masked."""
    rows = max(1, CPU_MIB * 2**20 // 4 // test._dataset.item_num)
    parts = [test._dataset[slice(a, a + rows)] for a in range(0, len(test._dataset), rows)]

    def run() -> None:
        for part in parts:
            scores = model.full_sort_predict(part)
            scores[:, 0] = -torch.inf
            torch.topk(scores, K, dim=1)

    return run


@torch.no_grad()
def measure(name: str, repeat: int, *, with_recbole: bool) -> dict[str, Any]:
    """One case: best of ``repeat`` turns each."""
    case, sequential = CASES[name], name == "sequential"
    with tempfile.TemporaryDirectory() as folder:
        config, model, trainer, _, test = build(case, sequential, Path(folder))
        bare = sequential_floor(model, test) if sequential else floor(model, test, gauc=name == "gauc")
        found: dict[str, Any] = {}

        def ours() -> None:
            found["ours"] = Evaluator(config).evaluate(model, test).metrics

        def theirs() -> None:
            found["recbole"] = trainer.evaluate(test, load_best_model=False)

        peak = peak_above(ours)
        contenders = {"ours": ours, "floor": bare, **({"recbole": theirs} if with_recbole else {})}
        best = dict.fromkeys(contenders, float("inf"))
        for turn in range(repeat):
            for contender, work in contenders.items():
                if (
                    contender == "recbole"
                    and best["recbole"] < float("inf")
                    and best["recbole"] > 10
                    and turn > 1
                ):
                    continue
                start = time.perf_counter()
                work()
                best[contender] = min(best[contender], time.perf_counter() - start)
    if with_recbole and any(
        abs(found["ours"][key] - value) > 1e-4 for key, value in found["recbole"].items()
    ):
        raise SystemExit(f"{name}: values differ: {found}")
    return {
        "case": name,
        "users": case["users"],
        "items": test._dataset.item_num - 1,
        "metrics": [f"{m}@{K}" if m != "GAUC" else m for m in case["metrics"]],
        "ratio_recbole": round(best["recbole"] / best["ours"], 2) if with_recbole else None,
        "ratio_floor": round(best["ours"] / best["floor"], 2),
        "peak_mib": round(peak),
        "seconds": {key: round(value, 4) for key, value in best.items()},
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Print one JSON line a case."""
    parser = argparse.ArgumentParser(description="Evaluator: ours against RecBole's and against the floor")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated, of " + ", ".join(CASES))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--skip-recbole", action="store_true", help="RecBole takes most of the time")
    args = parser.parse_args()
    for name in args.cases.split(","):
        print(json.dumps(measure(name, args.repeat, with_recbole=not args.skip_recbole)), flush=True)


if __name__ == "__main__":
    main()

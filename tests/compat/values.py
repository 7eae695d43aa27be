"""A program: RecBole's own run_recbole after `import recbole_mm`, one JSON line per model."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

import recbole_mm  # noqa: F401

MODELS = ("BPR", "LightGCN", "NeuMF", "EASE", "SLIMElastic", "NCEPLRec", "CFKG")
SETTINGS = {
    "epochs": 2,
    "train_batch_size": 4096,
    "eval_batch_size": 4096,
    "metric_decimal_place": 8,
    "show_progress": False,
    "use_gpu": False,
    "state": "ERROR",
}


def main() -> None:
    from recbole.quick_start import load_data_and_model, run_recbole
    from recbole.trainer import Trainer

    trained: list[Trainer] = []
    fit = Trainer.fit

    def keep(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        trained.append(self)
        return fit(self, *args, **kwargs)

    Trainer.fit = keep
    torch.set_num_threads(1)
    sys.argv = ["values"]
    for model in MODELS:
        own: dict[str, Any] = {"train_neg_sample_args": None} if model in ("EASE", "NCEPLRec") else {}
        result = run_recbole(model=model, dataset="ml-100k", config_dict={**SETTINGS, **own})
        line = {"model": model, "test": {key: float(value) for key, value in result["test_result"].items()}}
        line["losses"] = list(trained[-1].train_loss_dict.values())
        print(json.dumps(line), flush=True)

    for trainer, model in zip(trained, MODELS, strict=True):
        if model in ("BPR", "EASE"):
            config, loaded, _, _, _, test = load_data_and_model(trainer.saved_model_file)
            again = type(trainer)(config, loaded).evaluate(test, load_best_model=False)
            print(json.dumps({"model": f"{model} read back", "test": dict(again), "losses": []}), flush=True)


main()

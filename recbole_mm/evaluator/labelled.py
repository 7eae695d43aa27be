"""Value metrics (AUC, LogLoss, MAE, RMSE) on a labelled loader, with RecBole's own formulas."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.evaluator.register import metrics_dict

from recbole_mm.evaluator.full import Progress
from recbole_mm.evaluator.registered import Registered
from recbole_mm.evaluator.score import predict_rows


def labelled_pass(
    model: Any,
    eval_data: Any,
    config: Any,
    names: list[str],
    size: int,
    device: Any,
    progress: Progress,
    own: Registered | None = None,
) -> tuple[OrderedDict[str, float], pd.DataFrame]:
    """Metrics over all rows, and a table (user id, item id, label, score). ``size``: rows of one call of ``predict``.

    ``names`` are of RecBole's metrics, ``own`` holds a person's.
    """
    score, label, user, item = [], [], [], []
    dataset = eval_data._dataset
    for interaction, *_ in progress(eval_data):
        score.append(predict_rows(model, interaction, device, size).cpu().numpy())
        label.append(interaction[config["LABEL_FIELD"]].cpu().numpy().reshape(-1))
        user.append(interaction[dataset.uid_field].cpu().numpy())
        item.append(interaction[dataset.iid_field].cpu().numpy())
    scores, labels = np.concatenate(score), np.concatenate(label)
    metrics: OrderedDict[str, float] = OrderedDict()
    for name in names:
        value = metrics_dict[name](config).metric_info(scores, labels)
        metrics[name] = round(float(value), config["metric_decimal_place"])
    if own is not None:
        own.collect_rows(torch.from_numpy(scores), torch.from_numpy(labels))
        metrics.update(own.values())
    return metrics, pd.DataFrame(
        {"user": np.concatenate(user), "item": np.concatenate(item), "label": labels, "score": scores}
    )

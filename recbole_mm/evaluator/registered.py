"""Metrics that a person entered in RecBole's registry: RecBole's collector gathers what they need, beside our pass."""

from __future__ import annotations

from copy import copy
from typing import Any

from recbole.evaluator.collector import Collector, DataStruct
from recbole.evaluator.register import metrics_dict
from torch import Tensor

from recbole_mm.errors import WrongUse


class Registered:
    """The metrics of these names (``recbole.evaluator.register.metrics_dict``), as RecBole computes them."""

    def __init__(self, config: Any, names: list[str]) -> None:
        self.names = names
        self._config = copy(config)
        self._config.final_config_dict = {**config.final_config_dict, "metrics": names}
        self._metrics = [metrics_dict[name](self._config) for name in names]
        self._training: dict[str, Any] | None = None
        self._collector = Collector(self._config)

    @property
    def knows_training(self) -> bool:
        """Whether the counts of the training rows are there."""
        return self._training is not None

    def data_collect(self, train_data: Any) -> None:
        """Take counts from ``train_data.dataset``."""
        collector = Collector(self._config)
        collector.data_collect(train_data)
        self._training = dict(collector.data_struct._data_dict)

    def start(self) -> None:
        """Forget the evaluation before."""
        self._collector = Collector(self._config)

    def collect(self, scores: Tensor, interaction: Any, row: Tensor, item: Tensor) -> None:
        """Take one batch.

        *Shapes*: scores [B, I], -inf where an item is masked or no candidate; row, item [P] of the positives.
        """
        if max(self._config["topk"]) > scores.shape[1]:
            raise WrongUse(
                f"topk: {max(self._config['topk'])} is more than the {scores.shape[1]} items; RecBole's collector, "
                f"by which {', '.join(self.names)} is computed, takes no more"
            )
        self._collector.device = scores.device
        self._collector.eval_batch_collect(scores, interaction, row, item)

    def collect_rows(self, scores: Tensor, labels: Tensor) -> None:
        """Take single scores [N] and their labels [N]."""
        self._collector.device = scores.device
        self._collector.eval_collect(scores, labels)

    def values(self) -> dict[str, float]:
        """The metrics under the names that they give themselves, rounded by them."""
        struct = DataStruct()  # RecBole's own copy asks counts for `.cpu()`
        for name, value in {**(self._training or {}), **self._collector.data_struct._data_dict}.items():
            struct.set(name, value.cpu() if isinstance(value, Tensor) else value)
        return {
            key: value for metric in self._metrics for key, value in metric.calculate_metric(struct).items()
        }

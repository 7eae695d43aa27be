"""RecBole's own slips, whatever the libraries: labels of rows taken for positions, and the like.

After a removal the labels of a table have gaps. What reads them as positions takes other rows, without an error
as long as the table is long enough.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from recbole_mm.compat.patch import AttributePatch, Patch, source_patches
from recbole_mm.errors import WrongUse

_DATASET = "recbole.data.dataset.dataset"
_MISSING = (
    "rows without a user or item are dropped by position, with labels that have gaps: others go, they stay"
)
_LABELS = (
    "np.concatenate reads a series by label 0, 1, ...: KeyError after a removal, another order after a sort"
)
_ILLEGAL = "without a legal interval ~True is -2, and the last row but one is removed"
_LOWEST = (
    "users and items with a table are removed below the first interval, though a later one holds their count"
)
_UNSORTED = (
    "the times of a user are sorted and their positions are not: with order RO any row goes to the test part"
)

_UNSTABLE = "rm_dup_inter sorts by time, and rows of one time come in any order: which of two stays is chance"
_NEGATIVES = (
    "DIEN's negatives stay in the order of the file when the rows are sorted: one may be its row's item"
)
_READING = (
    "pandas takes rows with too few or too many fields in silence, and names no place of a word among numbers"
)
_COUNTS = (
    "metrics that need counts (ItemCoverage, GiniIndex, AveragePopularity, …) ask numbers for their .cpu()"
)


def on_cpu(value: Any) -> Any:
    """A tensor on the CPU; what is no tensor, as it is."""
    return value.cpu() if hasattr(value, "cpu") else value


_REPEATS = (
    "Pop counts an item once a batch, however often it was taken: the larger the batch, the less it counts"
)
_ABSENT = (
    "top-k for a user without test rows: an error of tensors, and of a sequential model fewer rows than users"
)


def _with_rows(test_data: Any, users: Any) -> Any:
    """The field of the users' ids. Raises ``WrongUse`` on users who have no row in the part, with their tokens."""
    dataset = test_data._dataset
    field = dataset.uid_field
    there = set(dataset.inter_feat[field].tolist())
    if absent := [user for user in users.tolist() if user not in there]:
        tokens = [
            str(dataset.id2token(field, u)) if 0 < u < dataset.user_num else f"no user {u}"
            for u in absent[:5]
        ]
        raise WrongUse(
            f"full_sort_topk, full_sort_scores: {len(absent)} of {len(users)} users have no row in this part, so that "
            f"nothing is known of what to rank for them: {', '.join(tokens)}{', …' * (len(absent) > 5)}"
        )
    return field


class LateWriter:
    """A TensorBoard writer that is made when there is something to write; what it is asked is the writer's."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._writer = make, None

    def __getattr__(self, name: str) -> Any:
        if self._writer is None:
            self._writer = self._make()
        return getattr(self._writer, name)

    def close(self) -> None:
        """Close the writer, if there is one."""
        if self._writer is not None:
            self._writer.close()


def _writing_late(module: ModuleType) -> None:
    module.get_tensorboard = partial(_late_writer, module.get_tensorboard)  # type: ignore[attr-defined]


def _late_writer(make: Callable[[Any], Any], logger: Any) -> LateWriter:
    return LateWriter(partial(make, logger))


def _trusting(module: ModuleType) -> None:
    import torch

    torch.autograd.set_detect_anomaly(False)


_missing = source_patches("recbole", _MISSING, "_filter_nan_user_or_item drops by label")
_labels = source_patches("recbole", _LABELS, "RecBole joins the values of a series, not the series")
_illegal = source_patches("recbole", _ILLEGAL, "_within_intervals gives one answer for each value")
_lowest = source_patches("recbole", _LOWEST, "_get_illegal_ids_by_inter_num looks at all intervals")
_unsorted = source_patches("recbole", _UNSORTED, "time_based_split sorts the positions of a user too")
_unstable = source_patches("recbole", _UNSTABLE, "_remove_duplication sorts with kind='stable'")
_negatives = source_patches("recbole", _NEGATIVES, "DIENDataset sorts its negatives with the rows")
_reading = source_patches("recbole", _READING, "_load_feat refuses uneven rows, with file and line")
_counts = source_patches("recbole", _COUNTS, "Collector.get_data_struct moves tensors only")
_repeats = source_patches("recbole", _REPEATS, "Pop adds up the rows of a batch (index_add_, or bincount)")
_absent = source_patches("recbole", _ABSENT, "full_sort_scores names the users without a row")
_JOINED = ("feat[field].agg(np.concatenate)", "np.concatenate(feat[field].values)")

PATCHES: list[Patch] = [
    _reading("recbole-read-header", _DATASET, "459, 460",
             '        with open(filepath, "r", encoding=encoding) as f:\n            head = f.readline()[:-1]\n',
             "        from recbole_mm.atomic import float_sequences, header_line, read_atomic\n"
             "        head = header_line(filepath, field_separator, encoding)\n"),
    _reading("recbole-read-rows", _DATASET, "486, 488, 489, 490, 492",
             "pd.read_csv(\n            filepath,\n            delimiter=field_separator,\n"
             '            usecols=usecols,\n            dtype=dtype,\n            encoding=encoding,\n'
             '            engine="python",\n',
             "read_atomic(\n            filepath,\n            separator=field_separator,\n            columns=dtype,\n"
             "            mend='strict_config' not in self.config or not self.config['strict_config'],\n"
             "            encoding=encoding,\n\n"),
    _reading("recbole-read-floats", _DATASET, "508, 509, 510, 511",
             "df[field] = [\n                    np.array(list(map(float, filter(None, _.split(seq_separator)))))\n"
             "                    for _ in df[field].values\n                ]\n",
             "df[field] = float_sequences(\n                    filepath, field_separator, encoding, field,\n"
             "                    df[field].values, seq_separator,\n                )\n"),
    _missing("recbole-missing-feat", _DATASET, "827", "feat.drop(feat.index[dropped_feat]", "feat.drop(dropped_feat"),
    _missing("recbole-missing-inter", _DATASET, "835",
             "self.inter_feat.index[dropped_inter], inplace", "dropped_inter, inplace"),
    _labels("recbole-concatenate-dataset", _DATASET, "714, 794, 810, 1191", *_JOINED, count=4),
    _labels("recbole-concatenate-kg_dataset", "recbole.data.dataset.kg_dataset", "309", *_JOINED),
    _illegal("recbole-illegal-interval", _DATASET, "1019",
             "        result = True\n", "        result = np.ones(np.shape(num), dtype=bool)\n"),
    _lowest("recbole-lowest-interval", _DATASET, "974", "inter_interval[0][1] if inter_interval",
            "min(interval[1] for interval in inter_interval) if inter_interval"),
    _unsorted("recbole-time-split", _DATASET, "1765", "grouped_index = np.array(grouped_index)\n",
              "grouped_index = np.array(grouped_index)[np.argsort("
              "self.inter_feat[self.time_field].numpy()[grouped_index], kind='stable')]\n"),
    _unstable("recbole-repeated-pairs", _DATASET, "854",
              "by=[self.time_field], ascending=True, inplace=True",
              "by=[self.time_field], kind='stable', inplace=True"),
    _negatives("recbole-dien-negatives", "recbole.data.dataset.customized_dataset", "88",
               "self.sort(by=[self.uid_field, self.time_field], ascending=True)",
               "self.inter_feat[self.neg_item_list_field] = self.neg_item_list; "
               "self.sort(by=[self.uid_field, self.time_field], ascending=True); "
               "self.neg_item_list = self.inter_feat.interaction.pop(self.neg_item_list_field)"),
    _counts("recbole-collector-counts", "recbole.evaluator.collector", "227",
            "self.data_struct._data_dict[key].cpu()", "_compat_on_cpu(self.data_struct._data_dict[key])",
            _compat_on_cpu=on_cpu),
    _repeats("recbole-pop-repeats", "recbole.model.general_recommender.pop", "47",
             "self.item_cnt[item, :] = self.item_cnt[item, :] + 1",
             "self.item_cnt.index_add_(0, item, self.item_cnt.new_ones(len(item), 1))"),
    _absent("recbole-topk-absent", "recbole.utils.case_study", "40",
            "uid_field = test_data.dataset.uid_field", "uid_field = with_rows(test_data, uid_series)",
            with_rows=_with_rows),
    AttributePatch(
        "recbole-anomaly", "recbole", "recbole.model.sequential_recommender.sine",
        "whoever imports any sequential model has autograd's search for NaN on, in every model of the process: each "
        "operation keeps a traceback, each gradient is looked through; a step takes up to three times as long",
        "model/sequential_recommender/sine.py:25", "sine.py does not call set_detect_anomaly", apply=_trusting),
    AttributePatch(
        "recbole-tensorboard", "recbole", "recbole.trainer.trainer",
        "a trainer makes a folder below log_tensorboard/ when it is built, also where it evaluates or recommends alone",
        "trainer/trainer.py:115, 887", "the writer is made in fit", apply=_writing_late),
]  # fmt: skip

"""pandas 3: `df[f].fillna(..., inplace=True)` changes nothing, and `.agg(len)` gives one number."""

from __future__ import annotations

import warnings
from functools import cache

from recbole_mm.compat.patch import Patch, source_patches


@cache
def inplace_is_lost() -> bool:
    """Whether an inplace change of a selected column leaves the table as it was (copy on write)."""
    import pandas as pd

    table = pd.DataFrame({"a": [1.0, None]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table["a"].fillna(value=0.0, inplace=True)
    return bool(table["a"].isna().any())


@cache
def agg_is_whole() -> bool:
    """Whether `Series.agg(len)` is the length of the series, no longer that of each element."""
    import pandas as pd

    return not isinstance(pd.Series([[1, 2], [3]]).agg(len), pd.Series)


@cache
def values_are_read_only() -> bool:
    """Whether the array behind a column may not be written to."""
    import pandas as pd

    return not pd.DataFrame({"a": [1.0]})["a"].to_numpy().flags.writeable


_LENGTHS = "Series.agg(len) is one number in pandas 3, and RecBole wants the length of each row"
_LOST = "an inplace fillna on a selected column does nothing in pandas 3, without an error: NaN stay"
_LOCKED = "values of a column are read-only in pandas 3, and torch warns that a tensor on them must not be written to"
_DATASET = "recbole.data.dataset.dataset"


_fillna = source_patches("pandas", _LOST, "RecBole assigns the result of fillna", inplace_is_lost)
_agg = source_patches("pandas", _LENGTHS, "RecBole no longer calls .agg(len)", agg_is_whole)
_copy = source_patches(
    "pandas", _LOCKED, "RecBole copies the values before it makes a tensor of them", values_are_read_only
)
_WHOLE = ("np.cumsum(feat[field].agg(len))", "np.cumsum(feat[field].map(len))")

PATCHES: list[Patch] = [
    _fillna("pandas-fillna-501", _DATASET, "501",
            'df[field].fillna(value="", inplace=True)', 'df[field] = df[field].fillna(value="")'),
    _fillna("pandas-fillna-648", _DATASET, "648",
            "feat[field].fillna(value=0, inplace=True)", "feat[field] = feat[field].fillna(value=0)"),
    _fillna("pandas-fillna-650", _DATASET, "650", "feat[field].fillna(value=feat[field].mean(), inplace=True)",
            "feat[field] = feat[field].fillna(value=feat[field].mean())"),
    _agg("pandas-agg-dataset", _DATASET, "712, 792, 809, 1217", *_WHOLE, count=4),
    _agg("pandas-agg-kg_dataset", "recbole.data.dataset.kg_dataset", "316", *_WHOLE),
    _agg("pandas-agg-sequential_dataset", "recbole.data.dataset.sequential_dataset", "165", "].agg(len)", "].map(len)"),
    _copy("pandas-read-only", _DATASET, "2199", "value = data[k].values", "value = data[k].to_numpy(copy=True)"),
]  # fmt: skip

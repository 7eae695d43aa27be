"""pandas 3: `df[f].fillna(..., inplace=True)` changes nothing, and `.agg(len)` gives one number."""

from __future__ import annotations

import warnings
from functools import cache

from recbole_mm.compat.patch import Patch, SourcePatch


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
_DATASET = "recbole.data.dataset.dataset"


def _fillna(line: int, old: str, new: str) -> SourcePatch:
    return SourcePatch(
        f"pandas-fillna-{line}",
        "pandas",
        _DATASET,
        _LOST,
        f"data/dataset/dataset.py:{line}",
        "RecBole assigns the result of fillna",
        needed=inplace_is_lost,
        old=old,
        new=new,
    )


def _agg(module: str, lines: str, old: str, new: str, count: int = 1) -> SourcePatch:
    return SourcePatch(
        f"pandas-agg-{module.rsplit('.', 1)[-1]}",
        "pandas",
        module,
        _LENGTHS,
        lines,
        "RecBole no longer calls .agg(len)",
        needed=agg_is_whole,
        old=old,
        new=new,
        count=count,
    )


PATCHES: list[Patch] = [
    _fillna(501, 'df[field].fillna(value="", inplace=True)', 'df[field] = df[field].fillna(value="")'),
    _fillna(648, "feat[field].fillna(value=0, inplace=True)", "feat[field] = feat[field].fillna(value=0)"),
    _fillna(
        650,
        "feat[field].fillna(value=feat[field].mean(), inplace=True)",
        "feat[field] = feat[field].fillna(value=feat[field].mean())",
    ),
    _agg(
        _DATASET,
        "data/dataset/dataset.py:712, 792, 809, 1217",
        "np.cumsum(feat[field].agg(len))",
        "np.cumsum(feat[field].map(len))",
        count=4,
    ),
    _agg(
        "recbole.data.dataset.kg_dataset",
        "data/dataset/kg_dataset.py:316",
        "np.cumsum(feat[field].agg(len))",
        "np.cumsum(feat[field].map(len))",
    ),
    _agg(
        "recbole.data.dataset.sequential_dataset",
        "data/dataset/sequential_dataset.py:165",
        "].agg(len)",
        "].map(len)",
    ),
    SourcePatch(
        "pandas-read-only",
        "pandas",
        _DATASET,
        "values of a column are read-only in pandas 3, and torch warns that a tensor on them must not be written to",
        "data/dataset/dataset.py:2199",
        "RecBole copies the values before it makes a tensor of them",
        needed=values_are_read_only,
        old="value = data[k].values",
        new="value = data[k].to_numpy(copy=True)",
    ),
]

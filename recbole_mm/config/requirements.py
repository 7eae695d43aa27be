"""What single models of RecBole need beyond a data set: libraries, and sizes that depend on the data."""

from __future__ import annotations

from importlib import import_module
from logging import getLogger
from typing import Any

from recbole_mm.errors import WrongUse, one_line
from recbole_mm.model import defaults_of

_LIBRARIES = {
    "KGAT": ("dgl", "pip install dgl"),
    "KGIN": ("torch_scatter", "pip install torch_scatter (built against your torch)"),
    "MCCLK": ("torch_scatter", "pip install torch_scatter (built against your torch)"),
    "NCL": ("faiss", "pip install faiss-cpu"),
}


def check_libraries(model_class: type) -> None:
    """Raise ``WrongUse`` when a library that RecBole's model imports in mid-run does not import."""
    name, home = model_class.__name__, defaults_of(model_class)
    if not home.__module__.startswith("recbole.") or home.__name__ not in _LIBRARIES:
        return
    library, remedy = _LIBRARIES[home.__name__]
    try:
        import_module(library)
    except Exception as error:  # a binary built for another torch fails in many ways
        if isinstance(error, ModuleNotFoundError) and error.name == library:
            raise WrongUse(f"model {name} needs the library {library}: {remedy}") from error
        why = one_line(error)[:200]
        raise WrongUse(f"model {name} needs {library}, which does not import: {why}") from error


def fit_to_dataset(config: Any, dataset: Any) -> None:
    """Bring defaults into the range that the loaded data set allows, before it is split.

    NCL clusters users and items: no more clusters than there are of either. DGCF samples from the smaller of users
    and items as many as a batch's share of the larger: an epoch takes at least (larger / smaller) batches. KSR
    multiplies its vectors, which RecBole reads as float64, with float32 weights.
    Raises ``WrongUse`` when a given value is out of range.
    """
    if not config.home.__module__.startswith("recbole."):
        return
    home = config.home.__name__
    fewer, more = sorted((dataset.user_num, dataset.item_num))
    if home == "NCL":
        _at_most(config, "num_clusters", fewer, max(1, fewer // 2), f"there are {fewer} users or items")
    elif home == "DGCF":
        batches = -(-more // fewer)
        # the training part is not made yet; half of the rows is the least that any usual split leaves
        most = max(1, dataset.inter_num // 2 // batches) if batches > 1 else config["train_batch_size"]
        _at_most(config, "train_batch_size", most, most, f"DGCF needs {batches} batches an epoch")
    elif home == "KSR":
        for name, vectors in dataset._preloaded_weight.items():
            dataset._preloaded_weight[name] = vectors.astype("float32")


def _at_most(config: Any, key: str, most: int, default: int, why: str) -> None:
    if config[key] <= most:
        return
    if key in config.external_config_dict:
        raise WrongUse(f"{key}: {config[key]} is too many: {why}; choose at most {most}")
    getLogger().info("%s: %s = %d: %s", config["model"], key, default, why)
    config[key] = default

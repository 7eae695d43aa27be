"""What single models of RecBole need beyond a data set: libraries, and sizes that depend on the data."""

from __future__ import annotations

from importlib import import_module
from logging import getLogger
from typing import Any

from recbole_mm.errors import WrongUse

_LIBRARIES = {
    "KGAT": ("dgl", "pip install dgl"),
    "KGIN": ("torch_scatter", "pip install torch_scatter (built against your torch)"),
    "MCCLK": ("torch_scatter", "pip install torch_scatter (built against your torch)"),
    "NCL": ("faiss", "pip install faiss-cpu"),
}


def check_libraries(model_class: type) -> None:
    """Raise ``WrongUse`` when a library that RecBole's model imports in mid-run does not import."""
    if not model_class.__module__.startswith("recbole.") or model_class.__name__ not in _LIBRARIES:
        return
    library, remedy = _LIBRARIES[model_class.__name__]
    name = model_class.__name__
    try:
        import_module(library)
    except ModuleNotFoundError as error:
        if error.name == library:
            raise WrongUse(f"model {name} needs the library {library}: {remedy}") from error
        raise WrongUse(f"model {name} needs {library}, which does not import: {_line(error)}") from error
    except Exception as error:  # a binary built for another torch fails in many ways
        raise WrongUse(f"model {name} needs {library}, which does not import: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def fit_to_dataset(config: Any, dataset: Any) -> None:
    """Bring defaults into the range the loaded data set allows; call it before the model is built.

    NCL clusters users and items: no more clusters than there are of either.
    Raises ``WrongUse`` when a given value is out of that range.
    """
    if config["model"] != "NCL" or config["num_clusters"] is None:
        return
    most = min(dataset.user_num, dataset.item_num)
    if config["num_clusters"] <= most:
        return
    if "num_clusters" in config.external_config_dict:
        raise WrongUse(
            f"num_clusters: {config['num_clusters']} clusters of {most} users or items; choose at most {most}"
        )
    config["num_clusters"] = max(1, most // 2)
    getLogger().info("NCL: %d clusters (num_clusters), for %d users or items", config["num_clusters"], most)

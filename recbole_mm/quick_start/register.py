"""``register()``: RecBole's own entry points learn our models, data sets, trainers and configuration."""

from __future__ import annotations

import sys
from logging import getLogger
from typing import Any

from recbole_mm.config import Config
from recbole_mm.config.known import unknown_keys
from recbole_mm.data import data_preparation
from recbole_mm.model import get_model
from recbole_mm.quick_start.session import Session, load_dataset
from recbole_mm.trainer import get_trainer


def register() -> None:
    """Make ``recbole.quick_start.run_recbole(model="CMC", …)`` work unchanged; calling it twice does no harm.

    RecBole finds models and trainers by name in its own packages. The names its ``quick_start`` and ``utils`` hold
    are bound to ours, which find RecBole's too. As RecBole's does, the configuration made there reads the
    ``--key=value`` arguments of the program; the program is somebody else's, so words that are no key are left alone,
    and what our own commands refuse is a warning.
    """
    import recbole.quick_start
    import recbole.quick_start.quick_start as entry
    import recbole.utils
    import recbole.utils.utils

    for module in (entry, recbole.utils, recbole.utils.utils):
        module.get_model = get_model
        module.get_trainer = _trainer_by_name
    entry.Config = _config
    entry.create_dataset = _create_dataset
    entry.data_preparation = data_preparation
    entry.load_data_and_model = recbole.quick_start.load_data_and_model = load_data_and_model


def load_data_and_model(model_file: str) -> tuple[Any, ...]:
    """RecBole's: configuration, model, data set, training, validation and test loader of a checkpoint or run folder."""
    session = Session.open(model_file)
    loaders = session.train_data, session.valid_data, session.test_data
    return session.config, session.model, session.dataset, *loaders


def _config(
    model: Any = None, dataset: str | None = None, config_file_list: Any = None, config_dict: Any = None
) -> Config:
    given = {"strict_config": False, **(config_dict or {})}
    words = {a[2:].partition("=")[0]: a for a in sys.argv[1:] if a.startswith("--") and "=" in a}
    name = model or given.get("model")
    foreign = [words.pop(key) for key in unknown_keys(list(words), (), get_model(name) if name else object)]
    if foreign:
        getLogger("recbole_mm.config").debug("no keys, left alone: %s (command line)", " ".join(foreign))
    return Config(model, dataset, config_file_list, given, list(words.values()))


def _create_dataset(config: Config) -> Any:
    for note in config.notes:
        getLogger("recbole_mm.config").info("%s", note)
    return load_dataset(config)


def _trainer_by_name(model_type: Any, model_name: str) -> type:
    return get_trainer({"MODEL_TYPE": model_type}, get_model(model_name))

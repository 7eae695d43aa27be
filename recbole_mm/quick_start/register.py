"""``register()``: RecBole's own entry points learn our models, data sets, trainers and configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from logging import getLogger
from pathlib import Path
from typing import Any

import recbole.quick_start
import recbole.quick_start.quick_start as entry
import recbole.utils
import recbole.utils.utils

from recbole_mm.config import Config
from recbole_mm.config.known import unknown_keys
from recbole_mm.data import data_preparation
from recbole_mm.model import get_model, model_spec
from recbole_mm.quick_start.session import Session, load_dataset
from recbole_mm.trainer import get_trainer, read_checkpoint

_log = getLogger("recbole_mm.config")
_recbole_trainer, _recbole_load = entry.get_trainer, entry.load_data_and_model
_objective, _processes = entry.objective_function, entry.run_recboles
# RecBole's ways to keep data between runs are pickles; they change the speed of a run, not its result
_CACHES = ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path")


def register() -> None:
    """Make ``recbole.quick_start.run_recbole(model="CMC", …)`` work unchanged; calling it twice does no harm.

    RecBole finds models and trainers by name in its own packages. The names its ``quick_start`` and ``utils`` hold
    are bound to ours, which find RecBole's too. As RecBole's does, the configuration made there reads the
    ``--key=value`` arguments of the program; the program is somebody else's, so words that are no key are left alone,
    and what our own commands refuse is a warning. A script that makes its own ``recbole.config.Config`` gets RecBole's
    data sets and trainers for it.
    """
    for module in (entry, recbole.utils, recbole.utils.utils):
        module.get_model = get_model
        module.get_trainer = _trainer_by_name
    entry.Config = _config
    entry.create_dataset = _create_dataset
    entry.data_preparation = _data_preparation
    entry.run_recboles = run_recboles
    for module in (entry, recbole.quick_start):
        module.load_data_and_model = load_data_and_model
        module.objective_function = objective_function


def objective_function(*args: Any, **kwargs: Any) -> Any:
    """RecBole's ``objective_function``; the process of a trial of Ray gets it by this name and so is registered."""
    register()
    return _objective(*args, **kwargs)


def run_recboles(rank: int, *args: Any) -> Any:
    """RecBole's ``run_recboles``, one process of a distributed run, which gets it by this name."""
    register()
    return _processes(rank, *args)


def load_data_and_model(model_file: str) -> tuple[Any, ...]:
    """RecBole's: configuration, model, data set, training, validation and test loader of a checkpoint or run folder."""
    if Path(model_file).is_file() and "spec" not in read_checkpoint(model_file):
        return _recbole_load(model_file)  # of a trainer of RecBole's own
    session = Session.open(model_file)
    loaders = session.train_data, session.valid_data, session.test_data
    return session.config, session.model, session.dataset, *loaders


def _config(
    model: Any = None, dataset: str | None = None, config_file_list: Any = None, config_dict: Any = None
) -> Config:
    given = {"strict_config": False, **(config_dict or {})}
    name = model or given.get("model")
    if isinstance(name, type):
        model_spec(name)  # RecBole asks for it by its name later
    words = [a for a in sys.argv[1:] if a.startswith("--") and "=" in a]
    keys = {word: word[2:].partition("=")[0] for word in words}
    foreign = unknown_keys(keys.values(), (), get_model(name) if name else object)
    if foreign:
        said = " ".join(word for word in words if keys[word] in foreign)
        _log.debug("no keys, left alone: %s (command line)", said)
    words = [word for word in words if keys[word] not in foreign]
    config = Config(model, dataset, config_file_list, given, words)
    for key in _CACHES:
        if config[key]:
            _log.warning("%s: no effect, recbole_mm keeps no pickled data", key)
            config[key] = None
    return config


def _by_config(theirs: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """RecBole's function for a configuration of RecBole's, ours for ours."""

    @wraps(theirs)
    def chosen(config: Any, *args: Any, **kwargs: Any) -> Any:
        return (ours if isinstance(config, Config) else theirs)(config, *args, **kwargs)

    return chosen


def _load_noted(config: Config) -> Any:
    for note in config.notes:
        _log.info("%s", note)
    return load_dataset(config)


_create_dataset = _by_config(entry.create_dataset, _load_noted)
_data_preparation = _by_config(entry.data_preparation, data_preparation)


def _trainer_by_name(model_type: Any, model_name: str) -> type:
    """RecBole's trainer; for a configuration of ours, its instances are of ours."""
    theirs: type = _recbole_trainer(model_type, model_name)

    class Chosen(theirs):
        def __new__(cls, config: Any, model: Any, *args: Any) -> Any:
            ours = cls is Chosen and isinstance(config, Config)
            return get_trainer(config, type(model))(config, model) if ours else super().__new__(cls)

    Chosen.__name__, Chosen.__qualname__, Chosen.__doc__ = (
        theirs.__name__,
        theirs.__qualname__,
        theirs.__doc__,
    )
    return Chosen

"""The `last` checkpoint: everything a run needs to go on as if it had never stopped.

Written between two epochs, when the validation, the early stopping and the best file of the epoch before have
settled. Not in it: the data (rebuilt from the configuration) and attributes of a model that `drift` cannot see.
"""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from recbole_mm.data.dataloader import of_interactions
from recbole_mm.errors import WrongUse
from recbole_mm.run.key import keys_that
from recbole_mm.run.spec import relative_paths
from recbole_mm.serialize import from_plain, plain_config, to_plain
from recbole_mm.trainer.checkpoint import read_checkpoint
from recbole_mm.trainer.generators import global_state, loader_state, set_global_state, set_loader_state
from recbole_mm.trainer.warm_start import check_same_data
from recbole_mm.trainer.workers import n_workers

FORMAT = "recbole_mm.last/3"
_PROGRESS = ("best_valid_score", "best_valid_result", "train_loss_dict", "history", "best_epoch", "changes")


def optimizers_of(trainer: Any) -> dict[str, Optimizer]:
    """The optimisers of a trainer by attribute name, each once (RecVAE has two, and ``optimizer`` is one of them)."""
    found = {
        id(value): (name, value) for name, value in vars(trainer).items() if isinstance(value, Optimizer)
    }
    return dict(found.values())


def best_state(trainer: Any, epoch: int) -> dict[str, Any]:
    """RecBole's checkpoint, key by key, in plain values."""
    return {
        "config": relative_paths(plain_config(trainer.config)),
        "spec": trainer.spec.as_dict(),
        "epoch": epoch,
        "cur_step": trainer.cur_step,
        "best_valid_score": float(trainer.best_valid_score),
        "state_dict": trainer.model.state_dict(),
        "other_parameter": to_plain(trainer.model.other_parameter(), "other_parameter"),
        "optimizer": to_plain(trainer.optimizer.state_dict(), "optimizer"),
        "tokens": trainer.tokens,
        "stores": trainer.stores,
    }


def last_state(trainer: Any, epoch: int, loaders: dict[str, Any]) -> dict[str, Any]:
    """The state after `epoch` (-1: before the first), with RecBole's keys and more."""
    optimizers = optimizers_of(trainer)
    return {
        **best_state(trainer, epoch),
        "format": FORMAT,
        "workers": n_workers(trainer),
        "stages": trainer.stages.state(),
        "progress": {name: to_plain(getattr(trainer, name), name) for name in _PROGRESS},
        "optimizer_in_use": next(n for n, o in optimizers.items() if o is trainer.optimizer),
        "optimizers": {name: to_plain(o.state_dict(), name) for name, o in optimizers.items()},
        "steppings": [stepping.state() for stepping in trainer.steppings],
        "model_drift": trainer.model_drift.state(),
        "generators": global_state(trainer.device),
        "loaders": {name: loader_state(loader) for name, loader in loaders.items()},
    }


def read_last(last_file: str) -> dict[str, Any]:
    """The content of a `last` file; ``spec`` tells how to build the run again.

    Raises:
        WrongUse: it is missing, damaged, or the checkpoint of a best model.
    """
    if not Path(last_file).is_file():
        raise WrongUse(
            f"resume: there is no {last_file}; a run that has ended keeps it with keep_checkpoints: all"
        )
    state = read_checkpoint(last_file)
    if state.get("format") != FORMAT:
        kind = (
            "is of another version" if "format" in state else "is a best model: it lacks the state of the run"
        )
        raise WrongUse(f"resume: {last_file} {kind}; give the folder of a run that has not ended")
    return state


def restore(trainer: Any, last_file: str, loaders: dict[str, Any]) -> None:
    """Brings a fresh `trainer` and its loaders to the state of `last_file`.

    Raises:
        WrongUse: the file belongs to another model or other data.
    """
    state = read_last(last_file)
    check_same_data(state, of_interactions(loaders["train"])._dataset, last_file)
    now = {**relative_paths(plain_config(trainer.config)), "workers": n_workers(trainer)}
    # a file of before there was the entry does not say
    then = {**state["config"], "workers": state.get("workers", now["workers"])}
    changed = _changes(then, now)
    trainer.stages.restore(state["stages"])
    _load_weights(trainer.model, state, last_file)
    trainer.model_drift.restore(state["model_drift"])
    _load_optimizers(trainer, state, last_file)
    for stepping, saved in zip(trainer.steppings, state["steppings"], strict=True):
        stepping.restore(saved)
    for name in _PROGRESS:
        setattr(trainer, name, from_plain(state["progress"][name]))
    trainer.changes += changed
    trainer.cur_step, trainer.start_epoch = state["cur_step"], state["epoch"] + 1
    for name, loader in loaders.items():
        if name in state["loaders"]:
            set_loader_state(loader, state["loaders"][name], name)
    # last: nothing after this line may draw
    set_global_state(state["generators"], trainer.device)


def load_model(model: Any, state: dict[str, Any], device: torch.device, name: str) -> None:
    """Gives `model` the weights and other parameters of a checkpoint."""
    _load_weights(model, state, name)
    others = from_plain(state.get("other_parameter") or {})
    model.load_other_parameter({key: _to(value, device) for key, value in others.items()})


def _load_weights(model: Any, state: dict[str, Any], name: str) -> None:
    try:
        model.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise WrongUse(f"{name}: other model, settings or data than here: {detail[:300]}") from error


def _load_optimizers(trainer: Any, state: dict[str, Any], last_file: str) -> None:
    for name, saved in state["optimizers"].items():
        try:
            getattr(trainer, name).load_state_dict(from_plain(saved))
        except (AttributeError, ValueError) as error:
            raise WrongUse(f"{last_file}: {name} is not the one of this configuration ({error})") from error
    trainer.optimizer = getattr(trainer, state["optimizer_in_use"])


def _changes(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A sentence, which is logged too, where a setting of the checkpoint is another one now."""
    if then.get("model") != now.get("model"):
        raise WrongUse(f"resume: the checkpoint holds {then.get('model')}, this run is {now.get('model')}")
    harmless = keys_that("resumable")
    if now.get("lr_scheduler"):  # its rates depend on how many epochs there are
        harmless -= {"epochs", "train_epochs"}
    changed = [k for k in sorted(then.keys() | now.keys()) if k not in harmless and then.get(k) != now.get(k)]
    if not changed:
        return []
    listed = ", ".join(f"{key} {then.get(key)!r} -> {now.get(key)!r}" for key in changed[:5])
    more = ", …" if len(changed) > 5 else ""
    sentence = (
        f"resume: the configuration is not that of the checkpoint ({listed}{more}); the result is that of neither. The "
        "optimiser keeps its own learning rate"
    )
    getLogger("recbole_mm.trainer").warning(sentence)
    return [sentence]


def _to(value: Any, device: torch.device) -> Any:
    """Tensors in `value` on `device`, as ``torch.load(map_location=device)`` would have put them."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, (list, tuple)):
        return type(value)(_to(item, device) for item in value)
    if isinstance(value, dict):
        return type(value)((key, _to(item, device)) for key, item in value.items())
    return value

"""torch 2.6 reads files with weights_only=True; RecBole pickles its Config into its checkpoints.

Checkpoints written by RecBole's trainers therefore hold tensors and plain values only, and are read so.
"""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from recbole_mm.compat.config import rebuild_config
from recbole_mm.compat.patch import AttributePatch, Patch, SourcePatch, source_patches
from recbole_mm.errors import WrongUse
from recbole_mm.files import replacing
from recbole_mm.serialize import StateOf, from_plain, plain_config, to_plain


def save(state: dict[str, Any], path: str | Path, **_: Any) -> None:
    """Writes a trainer's `state` as tensors and plain values; whole or not at all.

    RecBole's pickle_protocol=4 is ignored: the weights-only reader knows protocol 2 alone.
    """
    import torch

    plain = {key: plain_config(value) if key == "config" else to_plain(value) for key, value in state.items()}
    with replacing(path) as partial:
        torch.save(plain, partial)


def load(path: str | Path, map_location: Any = None) -> Any:
    """Reads what `save` wrote; `WrongUse` for a file with pickled objects."""
    import pickle

    import torch

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return from_plain(torch.load(path, map_location=map_location, weights_only=True))
    except pickle.UnpicklingError:
        raise WrongUse(
            f"{path}: holds pickled Python objects (RecBole's own checkpoints do), and reading those can run any "
            "code; train again under recbole_mm"
        ) from None


@cache
def weights_only_is_default() -> bool:
    """Whether `torch.load` refuses a pickled object of a class it does not know."""
    import pickle

    import torch

    file = io.BytesIO()
    torch.save(Path("a"), file)
    file.seek(0)
    try:
        torch.load(file)
    except pickle.UnpicklingError:
        return True
    return False


@cache
def cuda_amp_is_deprecated() -> bool:
    """Whether `torch.cuda.amp.GradScaler` warns (each RecBole epoch makes one)."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.amp.GradScaler(enabled=False)
    return any(issubclass(w.category, FutureWarning) for w in caught)


def _load_other_parameter(module: ModuleType) -> None:
    def load_other_parameter(self: Any, para: dict[str, Any] | None) -> None:
        for key, value in (para or {}).items():
            if isinstance(value, StateOf):
                getattr(self, key).load_state_dict(value)
            else:
                setattr(self, key, value)

    module.AbstractRecommender.load_other_parameter = load_other_parameter


_TRAINER = "recbole.trainer.trainer"
_START = "recbole.quick_start.quick_start"
_WHY = "torch.load has weights_only=True since torch 2.6, and RecBole's checkpoints hold its pickled Config"
_DROP = "RecBole's checkpoints hold plain values"


_AMP = "torch.cuda.amp is deprecated, and RecBole calls it once an epoch: a warning"
_source = source_patches("torch", _WHY, _DROP, weights_only_is_default)
_amp = source_patches("torch", _AMP, "RecBole uses torch.amp", cuda_amp_is_deprecated)


def _load(module: str, lines: str, count: int = 1) -> SourcePatch:
    name = f"torch-load-{module.rsplit('.', 1)[-1]}"
    return _source(name, module, lines, "torch.load(", "_compat_load(", count, _compat_load=load)


_GENERAL = "recbole.model.general_recommender"
PATCHES: list[Patch] = [
    _source("torch-save", _TRAINER, "308, 770, 999",
            "torch.save(state, ", "_compat_save(state, ", 3, _compat_save=save),
    _load(_TRAINER, "323, 583", 2),
    _load(_START, "250"),
    _source("torch-rebuild-config", _START, "251", 'config = checkpoint["config"]',
            'config = _compat_config(checkpoint["config"])', _compat_config=rebuild_config),
    AttributePatch(
        "torch-other-parameter", "torch", "recbole.model.abstract_recommender", _WHY,
        "model/abstract_recommender.py:72", _DROP, needed=weights_only_is_default, apply=_load_other_parameter,
    ),
    _load(f"{_GENERAL}.convncf", "82"),
    _load(f"{_GENERAL}.nais", "127"),
    _load(f"{_GENERAL}.ract", "75, 84", 2),
    _load(f"{_GENERAL}.neumf", "84, 85", 2),
    _source("torch-save-neumf", f"{_GENERAL}.neumf", "162, 165",
            "torch.save(self, save_path)", "torch.save(self.state_dict(), save_path)", 2),
    _load("recbole.model.context_aware_recommender.kd_dagfm", "56"),
    _load("recbole.model.sequential_recommender.s3rec", "120"),
    _amp("torch-grad-scaler", _TRAINER, "235, 1440", "amp.GradScaler(", 'torch.amp.GradScaler("cuda", ', 2),
    _amp("torch-autocast", _TRAINER, "1453", "with amp.autocast(", 'with torch.amp.autocast("cuda", '),
]  # fmt: skip

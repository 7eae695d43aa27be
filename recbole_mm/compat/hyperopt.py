"""hyperopt 0.2.6 draws from numpy's `Generator`; RecBole's exhaustive search gives it a `RandomState`."""

from __future__ import annotations

from importlib import metadata

from recbole_mm.compat.patch import Patch, source_patches


def _needed() -> bool:
    try:
        version = metadata.version("hyperopt")
    except metadata.PackageNotFoundError:
        return True  # the next one to be installed needs it
    return tuple(int(part) for part in version.split(".")[:3]) >= (0, 2, 6)


_WHY = "hyperopt calls rng.integers, which a RandomState lacks: HyperTuning(algo='exhaustive') ends at once"
_generator = source_patches("hyperopt", _WHY, "RecBole hands hyperopt a Generator", _needed)

PATCHES: list[Patch] = [
    _generator("hyperopt-generator", "recbole.trainer.hyper_tuning", "117",
               "np.random.RandomState(seed)", "np.random.default_rng(seed)"),
]  # fmt: skip

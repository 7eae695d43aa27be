"""The item tower as ONNX: from the vectors of a new item's modalities, as a store has them, to its vector."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_mm.data.scaling import Scaler
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.model.traits import Traits, trait

#: items on which the file is tried
TRIED = 64
PRESENT, VECTOR = "present", "vector"


class ItemTower(nn.Module):
    """``(contents [n, D] of each modality, present [n, M]) -> [n, d]``, the scaling of features included."""

    def __init__(self, model: Any, modality: Any) -> None:
        super().__init__()
        self.model = model
        self.scales = nn.ModuleList(Scaler(each.scale) for each in modality.values())

    def forward(self, *given: Tensor) -> Tensor:
        """``given``: the contents, then ``present``."""
        contents = [scale(values) for scale, values in zip(self.scales, given[:-1], strict=True)]
        return self.model.encode_content(contents, given[-1])


def write_tower(model: Any, dataset: Any, path: Path) -> dict[str, Any]:
    """Write the tower and try it with onnxruntime against torch; returns what the manifest says of it.

    Raises:
        WrongUse: the model scores no new items, the run is a control, or a library is missing.
        Failure: it cannot be written, or the two do not agree.
    """
    modality = dataset.modality
    encodes = trait(type(model), "encode_content") is not Traits.encode_content
    if not (modality and trait(model, "scores_from_features") and encodes):
        raise WrongUse(f"{type(model).__name__} scores no item by features alone")
    if control := dataset.config["feature_control"]:
        raise WrongUse(f"feature_control: {control}: the features of this run mean nothing")
    if dataset.config["finetune_encoder"]:
        raise WrongUse(
            "finetune_encoder: the tower would need the encoder, and texts in the place of vectors"
        )
    tower, given = ItemTower(model, modality).eval(), _examples(dataset)
    with torch.no_grad():
        if trait(model, "encode_content")(given[:-1], given[-1]) is None:
            raise WrongUse(f"{type(model).__name__}: with these settings it scores no item by features alone")
        expected = tower(*given).numpy()
    names = [*modality, PRESENT]
    try:
        _export(tower, given, names, path)
        away = float(np.abs(_run(path, names, given) - expected).max())
    except WrongUse:
        raise
    except Exception as error:  # of any kind, from within the exporter or onnxruntime
        why = str(error).strip().splitlines()[0]
        raise Failure(f"{type(model).__name__}: its tower cannot be written as ONNX ({why})") from error
    if not away <= 1e-4 * max(1.0, float(np.abs(expected).max())):
        raise Failure(f"{path.name}: onnxruntime and torch differ by {away:.2g}")
    inputs = {name: ["n", each.width] for name, each in modality.items()} | {PRESENT: ["n", len(modality)]}
    return {"inputs": inputs, "output": VECTOR, "largest_difference": away, "tried_on": len(expected)}


def _examples(dataset: Any) -> list[Tensor]:
    """Random items' vectors as the stores have them, and which there are."""
    rng, modality = np.random.default_rng(0), dataset.modality
    some = np.flatnonzero(modality.present.numpy().any(axis=1))
    items = np.sort(rng.permutation(some)[:TRIED])
    contents = []
    for each in modality.values():
        rows = each.rows[items]
        values = np.asarray(each.source[np.maximum(rows, 0)], dtype=np.float32)
        values[rows < 0] = 0.0
        contents.append(torch.from_numpy(values))
    return [*contents, modality.present[torch.from_numpy(items)]]


def _export(tower: ItemTower, given: Sequence[Tensor], names: Sequence[str], path: Path) -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise WrongUse(
            'ONNX needs onnx, onnxscript and onnxruntime: pip install "recbole_mm[export]"'
        ) from error
    rows = torch.export.Dim("n", min=1)
    fast = torch.backends.mha.get_fastpath_enabled()  # one operator that ONNX does not know
    torch.backends.mha.set_fastpath_enabled(False)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                tower, tuple(given), str(path), input_names=list(names), output_names=[VECTOR], dynamo=True,
                dynamic_shapes=(tuple({0: rows} for _ in given),), external_data=False, verbose=False,
            )  # fmt: skip
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _run(path: Path, names: Sequence[str], given: Sequence[Tensor]) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {name: values.numpy() for name, values in zip(names, given, strict=True)}
    # not by all at once, so that the number of rows is seen to be free
    halves = [
        {name: values[part] for name, values in feeds.items()} for part in (slice(0, 1), slice(1, None))
    ]
    return np.concatenate([session.run([VECTOR], each)[0] for each in halves if len(each[PRESENT])])

"""What the pipeline asks of an encoder, and where an encoder runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from recbole_mm.errors import WrongUse

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Absent:
    """Stands in for an item that has nothing to encode."""

    reason: str


class Cut(list[int]):
    """Token ids of a text that had more; prepared as any list is, and counted."""


class Encoder(Protocol):
    """Turns raw items (a text, the path of an image) into rows.

    ``prepare`` and ``collate`` are called from several threads and ahead of time; ``encode`` from one.

    Shapes: ``prepare`` n raws -> n prepared items or `Absent`; ``collate`` B prepared items -> one batch;
    ``encode`` a batch -> float32 [B, D], D = ``width``. A `Cut` of ``prepare`` is counted. An encoder whose rows mean
    something only beside one another has ``whole = True``.
    """

    name: str
    width: int
    batch_size: int
    shard_size: int
    identity: dict[str, Any]  # all that makes a value, as JSON: part of every item's key

    def prepare(self, raws: Sequence[str]) -> list[Any]:
        """Loads and preprocesses; `Absent` stands for an item with nothing to encode."""
        ...

    def size(self, prepared: Any) -> int:
        """What a prepared item costs: batches are made of items of like size."""
        ...

    def collate(self, prepared: Sequence[Any]) -> Any:
        """One batch of tensors."""
        ...

    def encode(self, batch: Any) -> np.ndarray:
        """The rows of a batch, in its order."""
        ...


def identity_digest(identity: Mapping[str, Any]) -> str:
    """The SHA-256 of an identity, in hexadecimal."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Placement:
    """The device and the precision that a torch encoder runs in."""

    device: torch.device
    precision: str  # float32, float16 or bfloat16

    @classmethod
    def pick(cls, device: str = "auto", precision: str = "auto") -> Placement:
        """A CUDA device where there is one, and mixed float16 there; else all cores in float32."""
        import torch

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            place = torch.device(device)
        except RuntimeError as error:
            raise WrongUse(f"--device {device}: not a device of torch; use auto, cpu or cuda") from error
        if place.type == "cuda" and not torch.cuda.is_available():
            raise WrongUse(f"--device {device}: torch sees no CUDA device; use --device cpu")
        if precision == "auto":
            precision = "float16" if place.type == "cuda" else "float32"
        if precision not in ("float32", "float16", "bfloat16"):
            raise WrongUse(f"precision {precision}: use auto, float32, float16 or bfloat16")
        return cls(place, precision)

    def place(self, model: Any) -> Any:
        """The torch model there, for inference; its weights stay float32, whatever `running` computes in."""
        return model.float().eval().to(self.device)

    def batch_size(self, given: int | None) -> int:
        """The setting, where one is given; else 64 on a GPU and 8 on a CPU.

        On a CPU the activations of a large batch are given back to the system after every layer and zeroed again
        for the next: EfficientNet-Lite0 took 133 ms an image in batches of 64 and 58 ms in batches of 8.
        """
        return int(given) if given else 8 if self.device.type == "cpu" else 64

    @contextmanager
    def running(self) -> Iterator[None]:
        """No gradients; matrix products in the lower precision where one is asked for."""
        import torch

        mixed = self.precision != "float32"
        dtype = getattr(torch, self.precision) if mixed else None
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=dtype, enabled=mixed):
            yield


def fingerprint(model: torch.nn.Module) -> str:
    """The SHA-256 of a model's weights: the same weights from the hub, a folder or a package are the same."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.reshape(-1).view(dtype=torch.uint8).numpy())
    return digest.hexdigest()

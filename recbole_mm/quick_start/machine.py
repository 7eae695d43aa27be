"""What a run took and where: processor, memory, time, energy; and which data it read, by their hashes."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from recbole_mm.atomic import suffixes
from recbole_mm.files import sha256
from recbole_mm.trainer import Callback

POWERCAP = Path("/sys/class/powercap")
NO_ENERGY = "no counter of energy can be read here"


class Usage(Callback):
    """Energy and peak memory since it was made; counted each epoch, before an energy counter wraps around twice."""

    def __init__(self) -> None:
        self._last, self._joules = self._read(), 0.0
        self._own_peak = _forget_peak()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_epoch_end(self, record: dict[str, Any]) -> None:
        """Add what was used since the last time."""
        self._add()

    def as_dict(self) -> dict[str, Any]:
        """``peak_memory_mib`` (of the whole process where it cannot be told apart), ``energy_joules`` or why not."""
        self._add()
        usage: dict[str, Any] = {"peak_memory_mib": _peak_mib(self._own_peak)}
        if torch.cuda.is_available():
            usage["peak_gpu_memory_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
        return usage | {"energy_joules": round(self._joules, 1) if self._last else NO_ENERGY}

    def _add(self) -> None:
        now = self._read()
        for zone, (joules, span) in now.items():
            before = self._last.get(zone, (joules, span))[0]
            self._joules += joules - before + (span if joules < before else 0.0)
        self._last = now

    @staticmethod
    def _read() -> dict[str, tuple[float, float]]:
        """Joules and the range of the counter of each package; packages alone, their cores are in them."""
        counters = {}
        for zone in sorted(POWERCAP.glob("intel-rapl:*")):
            if zone.name.count(":") == 1:
                try:
                    values = [
                        int((zone / name).read_text()) / 1e6 for name in ("energy_uj", "max_energy_range_uj")
                    ]
                except (OSError, ValueError):
                    continue
                counters[zone.name] = values[0], values[1]
        return counters


def _forget_peak() -> bool:
    """Let the kernel count the peak of memory anew; False where it does not."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return True
    except OSError:
        return False


def _peak_mib(own: bool) -> int:
    if own:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return round(int(line.split()[1]) / 1024)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@cache
def machine() -> dict[str, Any]:
    """System, processor, cores, memory, GPU, Python: what decides last digits and times; no name of the machine."""
    gpu = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": ", ".join(gpu) or None,
        "python": platform.python_version(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def file_hashes(config: Any) -> dict[str, str]:
    """SHA-256 of each file of the data set, by its name."""
    return {path.name: _sha256(path, *_state(path)) for path in _files(config)}


def data_record(config: Any, dataset: Any) -> dict[str, Any]:
    """Sizes, hashes of the files read, and for each modality its encoder, its hash and the share of items with it."""
    record: dict[str, Any] = {
        "users": dataset.user_num - 1,
        "items": dataset.item_num - 1,
        "interactions": int(dataset.inter_num),
        "files": dict(dataset.file_hashes or file_hashes(config)),
    }
    if dataset.modality is not None:
        present = np.asarray(dataset.modality.present)[1:]
        record["features"] = {
            name: {
                "coverage": round(float(present[:, k].mean()), 4),
                "encoder": origin.encoder,
                "hash": origin.fingerprint,
            }
            for k, (name, origin) in enumerate(dataset.modality.origins.items())
        }
    return record


def _files(config: Any) -> Iterator[Path]:
    folder = Path(str(config["data_path"]))
    names = [str(name) for name in config["domains"] or []]
    known = suffixes(config["additional_feat_suffix"])
    for place in [folder.parent / name for name in names] or [folder]:
        yield from sorted(path for path in place.glob(f"{place.name}.*") if path.suffix[1:] in known)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """Of a file in this state; read once by a process."""
    return sha256(path)

"""A modality on disk: one vector for each item token, in a folder of three files.

``manifest.json``  modality, encoder, width, rows, dtype, sizes and hashes of the other two
``values.npy``     float16 or float32 ``[N, D]``, an ordinary npy file, read through a memory map
``tokens.txt``     UTF-8, line k is the token of row k

Opening reads the manifest and the sizes of the files, so it costs the same for any ``N`` and ``D``;
``verify`` reads everything. An item without a vector has no row: absence is never a zero vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.modality.format import DTYPES, MANIFEST, TOKENS, VALUES, damaged, hash_file, read_manifest
from recbole_mm.modality.write import write_store


class ModalityStore:
    """The vectors of one modality; build with ``write``, read with ``open``.

    Attributes:
        path: the folder.
        manifest: the parsed ``manifest.json``.
        name: the modality, such as ``text``.
        encoder: what made the vectors.
        width: ``D``.
        rows: ``N``.
        dtype: float16 or float32.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.manifest = dict(manifest)
        self.name: str = manifest["modality"]
        self.encoder: str = manifest["encoder"]
        self.width: int = manifest["width"]
        self.rows: int = manifest["rows"]
        self.dtype: np.dtype[Any] = DTYPES[manifest["dtype"]]

    def __repr__(self) -> str:
        shape = f"[{self.rows}, {self.width}] {self.dtype}"
        return f"ModalityStore({self.name}: {shape}, {self.encoder}, {self.path})"

    @classmethod
    def open(cls, path: str | Path) -> ModalityStore:
        """Open the store in folder ``path``; reads no vector and no token.

        Raises:
            WrongUse: no store there, a broken or newer manifest, a truncated or missing file.
        """
        path = Path(path)
        if not path.exists():
            raise WrongUse(f"{path}: no such store{suggest(path.name, find_stores(path.parent))}")
        manifest = read_manifest(path)
        for file in (VALUES, TOKENS):
            expected = manifest["files"][file]["bytes"]
            try:
                found = (path / file).stat().st_size
            except FileNotFoundError:
                raise damaged(path / file, "missing") from None
            if found != expected:
                what = "truncated" if found < expected else "changed"
                raise damaged(path / file, f"{what}, {found} bytes where the manifest says {expected}")
        return cls(path, manifest)

    @classmethod
    def write(
        cls,
        path: str | Path,
        values: np.ndarray,
        tokens: Sequence[str] | np.ndarray,
        *,
        modality: str,
        encoder: str,
        source: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        present: np.ndarray | None = None,
        dtype: str | None = None,
        overwrite: bool = False,
    ) -> ModalityStore:
        """Check and write a store; ``path`` appears complete or not at all. See ``write.write_store``."""
        described = {"modality": modality, "encoder": encoder, "source": source}
        write_store(Path(path), values, tokens, described, metadata, present, dtype, overwrite)
        return cls.open(path)

    @cached_property
    def values(self) -> np.ndarray:
        """Memory-mapped, read-only ``[N, D]``."""
        file = self.path / VALUES
        try:
            values = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise damaged(file, f"not readable as npy ({error})") from error
        if values.shape != (self.rows, self.width) or values.dtype != self.dtype:
            stated = f"{self.dtype} {[self.rows, self.width]}"
            raise damaged(file, f"holds {values.dtype} {list(values.shape)} where the manifest says {stated}")
        return values

    @cached_property
    def tokens(self) -> np.ndarray:
        """Item tokens ``[N]``, an object array of ``str``."""
        file = self.path / TOKENS
        try:
            tokens = file.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise damaged(file, f"not UTF-8 ({error})") from error
        if len(tokens) != self.rows:
            raise damaged(file, f"{len(tokens)} tokens for {self.rows} rows")
        return np.array(tokens, dtype=object)

    @property
    def fingerprint(self) -> str:
        """Hash of values and tokens as the manifest states it: a key for anything derived from the store."""
        hashes = "".join(self.manifest["files"][file]["blake2b"] for file in (VALUES, TOKENS))
        return hashlib.blake2b(hashes.encode(), digest_size=16).hexdigest()

    def verify(self) -> None:
        """Read everything and compare the hashes.

        Raises:
            WrongUse: the content is not what was written.
        """
        for file in (VALUES, TOKENS):
            if hash_file(self.path / file) != self.manifest["files"][file]["blake2b"]:
                raise damaged(self.path / file, "hash mismatch, the content changed")
        _ = self.values, self.tokens


def find_stores(folder: str | Path) -> dict[str, Path]:
    """Modality name to store folder for every store directly in ``folder``, sorted by name."""
    stores = sorted(file.parent for file in Path(folder).glob(f"*/{MANIFEST}") if file.is_file())
    return {path.name: path for path in stores if not path.name.startswith(".")}


def resolve_stores(
    modalities: Sequence[str] | Mapping[str, str | Path | None] | str | None,
    modality_path: str | Path,
    dataset: str,
) -> dict[str, Path]:
    """The store folder of each modality that the config asks for, in the order asked.

    Args:
        modalities: None for all found, a list of names, a mapping of names to folders (None as folder:
            the usual place), or an empty list for none.
        modality_path: folder of all stores; those of a data set lie in ``modality_path/dataset/<name>``.
        dataset: name of the data set.

    Raises:
        WrongUse: a named modality has no store; of all found one has lost its manifest.
    """
    folder = Path(modality_path) / dataset
    found = find_stores(folder)
    if modalities is None:
        for values in sorted(folder.glob(f"[!.]*/{VALUES}")):
            if values.parent.name not in found:  # and would be passed over
                raise damaged(values.with_name(MANIFEST), f"not there, though {VALUES} is")
        return found
    names = [modalities] if isinstance(modalities, str) else list(modalities)
    if twice := [name for name in names if names.count(name) > 1]:
        raise WrongUse(f"modalities: '{twice[0]}' is named twice")
    asked = modalities if isinstance(modalities, Mapping) else dict.fromkeys(names)
    resolved = {}
    for name, place in asked.items():
        if place is not None and not (Path(place) / MANIFEST).is_file():
            raise WrongUse(f"modalities: '{name}' points to {place}, where no store is")
        if place is None and name not in found:
            hint = suggest(name, found) or " (there: no store)"
            raise WrongUse(f"modalities: '{name}' not found in {folder}{hint}")
        resolved[name] = found[name] if place is None else Path(place)
    return resolved

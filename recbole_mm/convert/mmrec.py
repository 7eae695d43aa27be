"""MMRec's layout -> RecBole benchmark files and modality stores.

MMRec keeps ``<name>.inter`` (tab, no types: userID, itemID, rating, timestamp, x_label: 0 train, 1 validation,
2 test) and ``image_feat.npy``, ``text_feat.npy``, whose row k is item k. RecBole reads such a split from
``<name>.train.inter``, ``.valid.inter``, ``.test.inter`` with ``benchmark_filename: [train, valid, test]``, which
``<name>.yaml`` says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_mm.atomic import check_rows
from recbole_mm.convert.atomic import write_atomic, write_items_parquet
from recbole_mm.convert.filter import count_doubtful, count_repeated, usable
from recbole_mm.convert.frames import ITEM, RATING, TIME, USER
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.sets import Written, add_output_arguments, write_sets
from recbole_mm.convert.staging import Staging
from recbole_mm.errors import WrongUse
from recbole_mm.files import check_folder
from recbole_mm.modality.format import MANIFEST, read_manifest
from recbole_mm.modality.store import ModalityStore

HELP = "MMRec's layout (x_label split, *_feat.npy) to RecBole benchmark files and modality stores"
PARTS = ("train", "valid", "test")
IDS = ({"userID": USER, "itemID": ITEM}, {"user_id": USER, "item_id": ITEM})
CHUNK = 4096  # rows of features at a time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``recbole-mm convert mmrec``."""
    parser.add_argument("folder", help="MMRec's folder of one data set, such as data/baby")
    parser.add_argument("--name", help="of the data set (default: the folder's name)")
    parser.add_argument("--modality-path", default="modality", help="where the stores go (default: modality)")
    parser.add_argument("--encoder", default="mmrec", help="what made the vectors, for the stores' record")
    parser.add_argument("--original-ids", action="store_true", help="tokens from the *_id_mapping.csv")
    cold = "keep rows of users without training rows (MMRec drops them)"
    mine = "replace stores too that were not made from a *_feat.npy"
    parser.add_argument("--overwrite", action="store_true", help=mine)
    parser.add_argument("--keep-cold-users", action="store_true", help=cold)
    add_output_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Convert one data set."""
    folder = Path(args.folder)
    name = args.name or folder.resolve().name
    problems = Problems()
    inter, labels, path = _interactions(folder)
    dropped: dict[str, int] = {}
    if not args.keep_cold_users:
        cold = ~inter[USER].isin(set(inter[USER][labels == 0])).to_numpy()
        dropped["no_training_row"] = int(cold.sum())
        inter, labels = inter[~cold].reset_index(drop=True), labels[~cold]
    users, items = (pd.factorize(inter[column])[0] for column in (USER, ITEM))
    count_repeated(problems, f"{path.name}:", users, items, before=1)
    rating, time = (inter[name].to_numpy() if name in inter.columns else None for name in (RATING, TIME))
    count_doubtful(problems, f"{path.name}:", usable(users, items), rating, time, before=1)
    for code, part in enumerate(PARTS):
        if not (labels == code).any():
            raise WrongUse(f"{path}: no row has x_label {code} ({part}); without it the split is not MMRec's")
    features = _features(folder)
    inter, tokens = _with_tokens(folder, inter, features, path, args.original_ids)
    present = {modality: _present(values) for modality, values in features.items()}
    for modality, mask in present.items():
        problems.add("empty_vector", f"{modality}_feat.npy row {int(mask.argmin())}", int((~mask).sum()))
    problems.raise_if(args.strict)
    stores = {modality: Path(args.modality_path) / name / modality for modality in features}
    _check_stores(folder, stores, present, args.overwrite)

    def write(staging: Staging) -> Written:
        for code, part in enumerate(PARTS):
            write_atomic(staging.folder, f"{name}.{part}", inter[labels == code])
        texts = _texts(folder, tokens)
        if texts is not None:
            write_items_parquet(staging.folder, texts)
        used = np.isin(np.array(tokens), inter[ITEM].unique())
        having = {kind: int((mask & used[: len(mask)]).sum()) for kind, mask in present.items()}
        counts = inter[USER].nunique(), inter[ITEM].nunique(), len(inter)
        times = [inter[TIME].to_numpy()] if TIME in inter.columns else []
        rows = {part: int((labels == code).sum()) for code, part in enumerate(PARTS)}
        settings = {"benchmark_filename": list(PARTS)}
        summary = staging.write_summary(
            counts, times, having, dropped, problems, settings=settings, rows=rows
        )
        return summary, set(), set()

    write_sets([name], args, write)
    for modality, values in features.items():  # last: an error before replaces no store
        origin = {"modality": modality, "encoder": args.encoder, "source": _source(modality)}
        ids, mask = tokens[: len(values)], present[modality]
        ModalityStore.write(stores[modality], values, ids, present=mask, overwrite=True, **origin)
    return 0


def _source(modality: str) -> str:
    return f"{modality}_feat.npy"


def _check_stores(
    folder: Path, stores: dict[str, Path], present: dict[str, np.ndarray], overwrite: bool
) -> None:
    """Refuse features without a vector, and to replace a store of another source; before anything is written."""
    for modality, store in stores.items():
        if not present[modality].any():
            raise WrongUse(f"{folder / _source(modality)}: every row is zero or NaN; mend or remove the file")
        check_folder("--modality-path", store)
        if not store.exists():
            continue
        if not (store / MANIFEST).is_file():
            raise WrongUse(f"{store}: exists and is no modality store; give another --modality-path")
        if not overwrite and (source := read_manifest(store).get("source")) != _source(modality):
            made = f"a store made from {source or 'elsewhere'} is there"
            raise WrongUse(f"{store}: {made}; give another --modality-path, or --overwrite to replace it")


def _with_tokens(
    folder: Path, inter: pd.DataFrame, features: dict[str, np.ndarray], path: Path, original: bool
) -> tuple[pd.DataFrame, list[str]]:
    """The interactions and the token of each item number; ``original``: with the ids that MMRec numbered."""
    known = int(inter[ITEM].astype(int).max()) + 1
    tokens = [str(row) for row in range(max([known, *(len(values) for values in features.values())]))]
    for modality, values in features.items():
        if len(values) < known:
            what = f"{len(values)} rows, but {path.name} has item {known - 1}"
            remedy = "they belong to different versions of the data set"
            raise WrongUse(f"{folder / modality}_feat.npy: {what}; {remedy}")
    if original:
        items = _mapping(folder / "i_id_mapping.csv", "itemID")
        users = _mapping(folder / "u_id_mapping.csv", "userID")
        tokens = [items.get(token, token) for token in tokens]
        inter[ITEM], inter[USER] = inter[ITEM].map(items), inter[USER].map(users)
        if inter[[ITEM, USER]].isna().any(axis=None):
            raise WrongUse(f"{folder}: an id of {path.name} is not in its mapping; leave out --original-ids")
        again = pd.Index(tokens).duplicated()
        if again.any():
            item = tokens[int(again.argmax())]
            raise WrongUse(f"{folder}: two items of the original id {item!r}; leave out --original-ids")
    return inter, tokens


def _interactions(folder: Path) -> tuple[pd.DataFrame, np.ndarray, Path]:
    """Rows with text ids and typed columns, the split label [R], the file."""
    paths = sorted(folder.glob("*.inter")) if folder.is_dir() else []
    if len(paths) != 1:
        raise WrongUse(f"{folder}: {len(paths) or 'no'} .inter files; MMRec's folder has exactly one")
    check_rows(paths[0])
    frame = pd.read_csv(paths[0], sep="\t", encoding="utf-8-sig")
    names = next((ids for ids in IDS if set(ids) <= set(frame.columns)), None)
    if names is None or "x_label" not in frame.columns:
        raise WrongUse(f"{paths[0]}: columns {', '.join(frame.columns)}; expected userID, itemID, x_label")
    for column in (*names, "x_label"):
        if not pd.api.types.is_integer_dtype(frame[column]):
            raise WrongUse(f"{paths[0]}: column {column!r} holds something other than whole numbers")
    labels = frame["x_label"].to_numpy()
    if not np.isin(labels, (0, 1, 2)).all():
        raise WrongUse(f"{paths[0]}: x_label must be 0, 1 or 2")
    frame = frame.astype(dict.fromkeys(names, str)).rename(columns=names)
    typed = {column: f"{column}:float" for column in ("rating", "timestamp") if column in frame.columns}
    return frame[[USER, ITEM, *typed]].rename(columns=typed), labels, paths[0]


def _features(folder: Path) -> dict[str, np.ndarray]:
    """``{image: [N, D], text: [N, D]}`` of the ``*_feat.npy`` that are there, memory-mapped."""
    found: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*_feat.npy")):
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise WrongUse(f"{path}: no plain array ({error})") from error
        floats = np.issubdtype(values.dtype, np.floating) and values.dtype.itemsize <= 8
        if values.ndim != 2 or not floats:
            raise WrongUse(f"{path}: {values.dtype} {list(values.shape)}; expected floats [items, width]")
        found[path.name.removesuffix("_feat.npy")] = values
    return found


def _present(values: np.ndarray) -> np.ndarray:
    """Rows that are finite and not all zero as a store holds them, bool [N]: MMRec has no mask of its own."""
    with np.errstate(over="ignore"):
        parts = [
            np.isfinite(part).all(axis=1) & (part != 0).any(axis=1)
            for start in range(0, len(values), CHUNK)
            for part in [values[start : start + CHUNK].astype(np.float32)]
        ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def _mapping(path: Path, column: str) -> dict[str, str]:
    """MMRec's number -> original id."""
    if not path.is_file():
        raise WrongUse(f"{path}: no such file; --original-ids needs it")
    check_rows(path)
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    other = [name for name in frame.columns if name != column]
    if column not in frame.columns or len(other) != 1:
        raise WrongUse(f"{path}: columns {', '.join(frame.columns)}; expected the original id and {column}")
    return dict(zip(frame[column], frame[other[0]], strict=True))


def _texts(folder: Path, tokens: list[str]) -> pd.DataFrame | None:
    """Title, brand, categories, description of ``meta-*.csv``, if it is there."""
    paths = sorted(folder.glob("meta*.csv"))
    if not paths:
        return None
    frame = pd.read_csv(paths[0], dtype=str, keep_default_na=False)
    if "itemID" not in frame.columns:
        raise WrongUse(f"{paths[0]}: no column itemID, found {', '.join(frame.columns)}")
    frame = frame.drop_duplicates("itemID").set_index("itemID")
    columns = [name for name in ("title", "brand", "categories", "description") if name in frame.columns]
    texts = frame.reindex([str(row) for row in range(len(tokens))])[columns].reset_index(drop=True)
    texts.insert(0, "item_id", tokens)
    return texts

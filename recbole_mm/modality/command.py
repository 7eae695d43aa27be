"""``recbole-mm store``: build a store from files, describe it, check its content."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from recbole_mm.errors import WrongUse
from recbole_mm.files import dataset_folder
from recbole_mm.modality.format import DTYPES
from recbole_mm.modality.read import read_array, read_parquet, read_tokens
from recbole_mm.modality.store import ModalityStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``build``, ``info`` and ``verify``."""
    actions = parser.add_subparsers(dest="action", required=True)

    build = actions.add_parser("build", help="from .npy and ids, or from parquet")
    build.add_argument("--values", metavar="X.npy", help="floats [rows, width]")
    build.add_argument("--ids", metavar="FILE", help="item tokens: one a line, or a .csv/.tsv/.item file")
    build.add_argument("--ids-column", metavar="COL", help="column of the tokens in that file")
    build.add_argument("--present", metavar="M.npy", help="bool [rows]; rows that are false are left out")
    build.add_argument("--parquet", metavar="FILE", help="instead of --values and --ids")
    build.add_argument("--token-column", metavar="COL", default="item_id", help="default: item_id")
    dimensions = "one column of lists, or one column a dimension"
    build.add_argument("--vector-column", metavar="COL", nargs="+", help=dimensions)
    build.add_argument("--modality", required=True, help="name, such as text")
    build.add_argument("--encoder", required=True, help="what made the vectors, such as minilm")
    build.add_argument("--dataset", metavar="NAME", help="put it where a run on this data set looks")
    build.add_argument("--modality-path", metavar="FOLDER", default="modality/", help="default: modality/")
    build.add_argument("--out", metavar="FOLDER", help="instead of --dataset: the store's own folder")
    build.add_argument("--dtype", choices=list(DTYPES), help="default: as the values are, float64 as float32")
    build.add_argument("--overwrite", action="store_true", help="replace a store that is there")
    build.add_argument("--json", action="store_true", help="print JSON")

    info = actions.add_parser("info", help="what is in a store, without reading it")
    info.add_argument("path")
    info.add_argument("--json", action="store_true", help="print JSON")

    verify = actions.add_parser("verify", help="read everything and compare the hashes")
    verify.add_argument("path")


def main(args: argparse.Namespace) -> int:
    """Run one of the actions; errors are raised."""
    store = _build(args) if args.action == "build" else ModalityStore.open(args.path)
    if args.action == "verify":
        store.verify()
        print(f"{store.path}: {store.rows:,} rows as written")
    elif args.json:
        print(json.dumps({"path": str(store.path), **store.manifest}, indent=2, ensure_ascii=False))
    else:
        _describe(store)
    return 0


def _build(args: argparse.Namespace) -> ModalityStore:
    if (args.out is None) == (args.dataset is None):
        raise WrongUse("store build: give --dataset NAME or --out FOLDER, one of the two")
    out = Path(args.out or Path(args.modality_path) / dataset_folder(args.dataset)[0] / args.modality)
    present: np.ndarray | None = None
    if args.parquet:
        if args.values or args.ids or not args.vector_column:
            raise WrongUse("store build: --parquet goes with --vector-column, without --values and --ids")
        values, tokens, present = read_parquet(args.parquet, args.token_column, args.vector_column)
        source = args.parquet
    else:
        if not (args.values and args.ids):
            raise WrongUse("store build: give --values X.npy and --ids FILE, or --parquet FILE")
        values, tokens = read_array(args.values), read_tokens(args.ids, args.ids_column)
        source = args.values
        if values.ndim and len(values) != len(tokens):
            counts = f"{args.values} has {len(values)} rows but {args.ids} {len(tokens)} tokens"
            raise WrongUse(f"{counts}; row k must belong to token k")
    if args.present:
        mask = read_array(args.present)
        present = mask if present is None or mask.shape != present.shape else present & mask
    given = {name: getattr(args, name) for name in ("modality", "encoder", "dtype", "overwrite")}
    return ModalityStore.write(out, values, tokens, source=str(source), present=present, **given)


def _describe(store: ModalityStore) -> None:
    shape = f"{store.rows:,} items × {store.width}"
    print(f"{store.path}: {store.name}, {shape}, {store.dtype}, by {store.encoder}")
    if zero_rows := store.manifest.get("zero_rows", 0):
        print(f"  {zero_rows:,} rows are all zero: if they mean 'absent', leave them out with --present")
    if store.manifest.get("source"):
        print(f"  from {store.manifest['source']}")

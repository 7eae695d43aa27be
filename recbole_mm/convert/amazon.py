"""Amazon reviews of 2014, 2018 and 2023 (plain or gzip JSON lines) -> atomic files, items and reviews.

One pass over the reviews; what the filters and ``reviews.parquet`` need of them waits in temporary files of the
output's folder, about half the size of the unpacked source. Memory grows with the users and items, and by some bytes
a review. Times are seconds in every edition (2023 has milliseconds).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from recbole_mm.convert.amazon_items import write_items
from recbole_mm.convert.amazon_reviews import read_reviews, write_reviews
from recbole_mm.convert.atomic import write_atomic
from recbole_mm.convert.filter import (
    Filters,
    add_filter_arguments,
    count_doubtful,
    count_repeated,
    degrees_of,
    filters_from,
    usable,
)
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.sets import Written, add_output_arguments, named_paths, write_sets
from recbole_mm.convert.spill import blocks
from recbole_mm.convert.staging import REVIEWS_PARQUET, Staging

HELP = "Amazon reviews and metadata (2014, 2018, 2023) to atomic files, items.parquet, reviews.parquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``recbole-mm convert amazon``."""
    parser.add_argument("reviews", nargs="+", metavar="[NAME=]REVIEWS", help="a review file for each domain")
    several: dict[str, Any] = {"nargs": "+", "default": []}
    meta = "metadata files, by name or in the same order"
    parser.add_argument("--meta", **several, metavar="[NAME=]META", help=meta)
    parser.add_argument("--images", **several, metavar="[NAME=]FOLDER", help="<item id>.jpg, .png")
    parser.add_argument("--no-reviews", action="store_true", help="write no reviews.parquet (saves time)")
    add_output_arguments(parser)
    add_filter_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Convert every domain, then put all of them in place."""
    reviews = named_paths(args.reviews)
    metas = named_paths(args.meta, list(reviews), "--meta")
    images = named_paths(args.images, list(reviews), "--images")
    filters = filters_from(args)

    def write(staging: Staging) -> Written:
        name = staging.name
        return convert(staging, reviews[name], metas.get(name), images.get(name), filters, args)

    joint = {"domains": list(reviews)} if len(reviews) > 1 else None
    write_sets(reviews, args, write, joint=joint)
    return 0


def convert(
    staging: Staging,
    path: Path,
    meta: Path | None,
    images: Path | None,
    filters: Filters,
    args: argparse.Namespace,
) -> Written:
    """Write one domain into ``staging``; returns its summary, its users and its items."""
    problems = Problems()
    data = read_reviews(path, staging.folder, not args.no_reviews, problems)
    count_repeated(problems, f"{path.name}:", data.user, data.item, folder=staging.folder)
    count_doubtful(problems, f"{path.name}:", usable(data.user, data.item), data.rating, data.timestamp)
    problems.raise_if(args.strict)
    keep, dropped = filters.keep(data.user, data.item, data.rating, data.timestamp, staging.folder)
    write_atomic(staging.folder, staging.name, data.inter(keep))
    users, items = (np.flatnonzero(degrees_of(codes, keep)) for codes in (data.user, data.item))
    having = write_items(staging, data.items, items, meta, images, problems)
    problems.raise_if(args.strict)
    if data.texts is not None:
        having["review"] = write_reviews(staging.folder / REVIEWS_PARQUET, data, keep)
    counts = len(users), len(items), int(keep.sum())
    times = (data.timestamp[part][keep[part]] for part in blocks(len(keep)))
    summary = staging.write_summary(counts, times, having, dropped, problems)
    return summary, set(data.users.take(users).to_pylist()), set(data.items.take(items).to_pylist())

"""``recbole-mm export``: a trained model as files for other programs."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_mm.errors import count
from recbole_mm.quick_start.recommend import add_run, open_run
from recbole_mm.serve.export import export_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm export``."""
    add_run(parser)
    parser.add_argument("--to", required=True, metavar="FOLDER", help="a new folder")


def main(args: argparse.Namespace) -> int:
    """Write the folder and say what is in it."""
    session = open_run(args)
    about = {key: session.config[key] for key in ("model", "dataset", "seed")} | {"key": session.spec.key}
    recommender = session.recommender
    manifest = export_run(recommender.ranker, recommender.tokens, args.to, about)
    for line in _lines(manifest):
        print(line)
    print(f"written to {args.to}")
    return 0


def _lines(manifest: dict[str, Any]) -> list[str]:
    lines = []
    if vectors := manifest.get("vectors"):
        lines.append(f"vectors: {vectors['users']} users, {vectors['items']} items, {vectors['width']} wide")
        by_domain = vectors["indexes"]
        for name, kinds in ({"": by_domain} if "flat" in by_domain else by_domain).items():
            for kind, index in kinds.items():
                lines.append(
                    f"index {kind}{f' of {name}' if name else ''}: {index['equal_lists']} of {index['tried_users']} "
                    f"users have the model's top 10, recall@10 {index['recall@10']}"
                )
    if tower := manifest.get("item_tower"):
        lines.append(
            f"item tower: onnxruntime and torch differ by {tower['largest_difference']:.1e} at most, "
            f"on {tower['tried_on']} items"
        )
    if weights := manifest.get("weights"):
        lines.append(f"weights: {count(weights['tensors'], 'tensor')}")
    return [
        *lines,
        *(f"not written: {name.replace('_', ' ')}: {why}" for name, why in manifest["left_out"].items()),
    ]

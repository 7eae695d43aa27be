"""``recbole-mm similar`` and ``recbole-mm explain``: into a trained model, by item and by score."""

from __future__ import annotations

import argparse
import json
from typing import Any

from recbole_mm.errors import count
from recbole_mm.quick_start.recommend import add_run, open_run, table_lines
from recbole_mm.serve.explain import HISTORY, explain_score
from recbole_mm.serve.similar import MEASURES, similar_items

SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of either command."""
    add_run(parser)
    parser.add_argument("--item", required=True, metavar="TOKEN")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.prog.endswith("explain"):
        parser.add_argument("--user", required=True, metavar="TOKEN")
        return
    parser.add_argument("--k", type=int, default=10, help="items of the list (10)")
    parser.add_argument(
        "--by", choices=MEASURES, default=MEASURES[0], help="measure of the item vectors (cosine)"
    )
    parser.add_argument("--domain", metavar="NAME", help="items of this domain alone")


def main(args: argparse.Namespace) -> int:
    """Print what was found."""
    recommender = open_run(args).recommender
    parts = recommender.ranker, recommender.tokens
    if args.command == "explain":
        explanation = explain_score(*parts, args.user, args.item)
        print(
            json.dumps(explanation, ensure_ascii=False)
            if args.json
            else _explained(explanation, recommender.tokens)
        )
        return 0
    frame, how = similar_items(*parts, args.item, args.k, args.by, args.domain)
    if args.json:
        rows = frame.to_dict("records")
        print(json.dumps({"item": args.item, "measure": how, "items": rows}, ensure_ascii=False))
    else:
        print("\n".join([f"similar to {args.item}, by {how}", *table_lines(frame, "similarity")]))
    return 0


def _explained(explanation: dict[str, Any], tokens: Any) -> str:
    title = f" {explanation['title']}" if explanation.get("title") else ""
    lines = [f"user {explanation['user']}, item {explanation['item']}{title}: {explanation['score']:.4f}"]
    for way, parts in explanation["parts"].items():
        lines.append(f"by {way}:" if way != HISTORY else f"by the items of the user's {way}:")
        names = list(parts)[:SHOWN]
        if way == HISTORY and tokens.titles is not None:
            titles = dict(zip(names, tokens.titles[tokens.item_ids(names)], strict=True)) if names else {}
            shown = {name: f"{name}  {titles[name][:60]}" for name in names}
        else:
            shown = {name: name for name in names}
        width = max((len(text) for text in shown.values()), default=0)
        lines += [f"  {shown[name]:<{width}}  {parts[name]:>9.4f}" for name in names]
        if len(parts) > SHOWN:
            rest = sum(list(parts.values())[SHOWN:])
            lines.append(f"  {count(len(parts) - SHOWN, 'other'):<{width}}  {rest:>9.4f}")
    return "\n".join(lines)

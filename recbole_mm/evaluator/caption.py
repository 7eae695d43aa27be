"""How a loader was made and what is ranked over it, in words: the caption of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.utils import EvaluatorType

from recbole_mm.data.sequence import BY_PREFIXES
from recbole_mm.data.ties import by_time
from recbole_mm.evaluator.protocol import protocols
from recbole_mm.evaluator.query import item_domain, pool_of

_KINDS = {"interacted": "with a row", "catalogue": "of the catalogue"}
_MASKED = {
    "train+valid": "the user's training and validation items",
    "train": "the user's training items",
    "none": "nothing",
}


def caption(config: Any, loader: Any) -> dict[str, str]:
    """What was done, by heading, from the loader as it was built."""
    part, ours = loader._dataset, config["evaluator"] == "mm"
    found = {"split": split_words(config, part)}
    if config["eval_type"] == EvaluatorType.VALUE:
        negatives = _drawn(config, loader)
        return {**found, "scored": "each labelled row" + (f", and {negatives}" if negatives else "")}
    if not isinstance(loader, FullSortEvalDataLoader):
        found |= {"ranked": f"the positives of a user and {_drawn(config, loader)}"}
        return {**found, "ties": "equal scores in the order of torch.topk, one half in an AUC"}
    full = [each.name for each in protocols(config) if each.is_full]
    sampled = [each for each in protocols(config) if not each.is_full]
    if full or not ours:
        found |= {
            "ranked": _candidates(config, part) if ours else f"all {part.item_num - 1} items that are loaded",
            "not ranked": _MASKED[config["mask_seen"]],
            "ties": "equal scores in the order of torch.topk, one half in an AUC",
        }
    for each in sampled if ours else ():
        found[each.name] = (
            f"a list for each positive with {each.negatives} items that the user never touched, of "
            f"{_candidates(config, part)}, drawn once from split_seed {config['split_seed']}; of equal scores the mean "
            "over their orders"
        )
    return {
        **found,
        "protocol": ", ".join(each.name for each in protocols(config)) if ours else "RecBole's evaluator",
    }


def split_words(config: Any, part: Any) -> str:
    """How the parts were made, and the rows of each."""
    split, seed = config["split"], f"split_seed {config['split_seed']}"
    if config["cold_items"]:
        held = f"; {len(part.cold_items)} items held out with all their rows, {seed}"
    else:
        held = ""
    sizes = " / ".join(f"{len(users):,}" for users, _ in part.pairs.values())
    prefixes = " of prefixes" if part.sequence_split == BY_PREFIXES else ""
    return f"{_made(config, part, split, seed)}{prefixes}{held}; {sizes} rows"


def _made(config: Any, part: Any, split: Any, seed: str) -> str:
    files = part.benchmark_filename_list
    if files is not None and (len(files) == 3 or not len(part.pairs["valid"][0])):
        return f"as the files {', '.join(map(str, files))} hold it"
    cut = (
        ""
        if files is None
        else f"as the files {', '.join(map(str, files))} hold it, validation cut from the first "
    )
    if isinstance(split, dict) and "random" in split:
        by = split.get("by", ["user", "domain"])
        return f"{cut}at random {_shares(split['random'])} by {_groups(part, by)}, {seed}"
    if split:
        return f"by the field {split['field']}"
    args = config["eval_args"]
    kind, how = next(iter(args["split"].items()))
    alone = kind == "RS" and str(args["group_by"]).lower() == "none"
    whole = part.sequence_split == BY_PREFIXES  # they run through all domains
    by = "over all rows" if alone else f"by {_groups(part, ['user'] if whole else ['user', 'domain'])}"
    drawn = f", {seed}" if args["order"] == "RO" else ""
    if by_time(config) and config["ties"] != "file":
        drawn += f", ties {config['ties']}" + f", {seed}" * (config["ties"] == "random" and not drawn)
    return f"{cut}{'by ' if cut else ''}RecBole's {kind} {_shares(how)}, order {args['order']}, {by}{drawn}"


def _shares(how: Any) -> str:
    return " / ".join(f"{share:g}" for share in how) if isinstance(how, (list, tuple)) else str(how)


def _groups(part: Any, by: Any) -> str:
    """What rows are grouped by; RecBole's splits are by user, of several domains by user and domain."""
    names = [by] if isinstance(by, str) else by
    return ", ".join(name for name in names if name != "domain" or part.domain_names)


def _candidates(config: Any, part: Any) -> str:
    of_item = item_domain(part) if config["eval_candidates"] == "domain" else None
    if of_item is None:
        return _items(config, part)
    pool, kind = pool_of(part, config["candidates"]), _KINDS[config["candidates"]]
    counts = np.bincount(of_item[pool], minlength=len(part.domain_names))
    listed = ", ".join(f"{name} {count}" for name, count in zip(part.domain_names, counts, strict=True))
    return f"the items {kind} in the query's domain ({listed})"


def _items(config: Any, part: Any) -> str:
    """The candidates of all domains."""
    return f"the {int(pool_of(part, config['candidates']).sum())} items {_KINDS[config['candidates']]}"


def _drawn(config: Any, loader: Any) -> str:
    """The negatives that RecBole's loader draws; empty where it draws none."""
    args = loader.neg_sample_args
    if args["distribution"] == "none" or args["sample_num"] == "none":
        return ""
    how = "uniformly" if args["distribution"] == "uniform" else f"by {args['distribution']}"
    items = "item" if args["sample_num"] == 1 else "items"
    for_each = f"{args['sample_num']} {items} for each of them, drawn {how}"
    if config["resample_eval"] is False:
        masked = "" if config["mask_seen"] == "none" else f", {_MASKED[config['mask_seen']]}"
        pool = _items(config, loader._dataset)
        once = f"once from split_seed {config['split_seed']}"
        return f"{for_each} {once}, among {pool} without the positives{masked}"
    which = "all but the one positive" if config["repeatable"] else "what the user never touched"
    return f"{for_each} at each evaluation anew, among {which}"

"""Data that is already split: the files of ``benchmark_filename``, two or three."""

from __future__ import annotations

from copy import copy
from logging import getLogger
from typing import Any

from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_mm.data.sequence import PLACE
from recbole_mm.data.split import split_rows
from recbole_mm.errors import WrongUse

_log = getLogger("recbole_mm.data")


def presplit_parts(dataset: Any) -> list[Any]:
    """Training, validation and test data sets of files.

    Three files are the parts. Two are training and test: validation is what the split rule (``eval_args``, or ours)
    takes for it out of the training file, by its share of training and validation together; none where it takes none.

    Raises:
        WrongUse: a split of our own beside three files, or no order of time to cut by.
    """
    config, files = dataset.config, dataset.benchmark_filename_list
    own = config["split"]
    if own and (len(files) == 3 or "field" in own):
        raise WrongUse(
            f"split: {own} beside benchmark_filename: {files}, which is a split already; leave one of them out"
        )
    if len(files) == 3:
        return list(dataset._recbole_parts())
    dataset._change_feat_format()
    rows = dataset.inter_feat
    whole, test = rows[slice(0, dataset.file_size_list[0])], rows[slice(dataset.file_size_list[0], len(rows))]
    train, valid, rule = _cut(dataset, whole)
    for field in set(test.columns) - set(train.columns):  # unused_col
        test.drop(field)
    if len(valid):
        _log.info(
            "%s is training and test: validation is %d of the %d rows of the first, cut from it by %s",
            files, len(valid), len(whole), rule,
        )  # fmt: skip
    return [dataset.copy(part) for part in (train, valid, test)]


def rule_without_validation(config: Any) -> str | None:
    """The split rule in words where it takes no validation rows; None where it may, or where files decide."""
    files, own = config["benchmark_filename"], config["split"]
    if len(files or ()) == 3 or (own and "field" in own):
        return None
    rule, changed = _rule(config)
    return rule if changed is None else None


def _cut(dataset: Any, whole: Interaction) -> tuple[Interaction, Interaction, str]:
    """Training rows, validation rows and the rule that cut them."""
    config = dataset.config
    rule, changed = _rule(config)
    if changed is None:
        return whole, whole[slice(0)], rule
    part = dataset.copy(whole)
    part.config = copy(config)
    part.config.final_config_dict = {**config.final_config_dict, **changed}
    part.benchmark_filename_list = None
    part._change_feat_format = lambda: None  # done
    if config["split"]:
        rows = split_rows(part.config, part)
        part._drop_unused_col()
        return *(part.inter_feat[row] for row in rows[:2]), rule
    if part.time_field not in whole and (
        config["eval_args"]["order"] == "TO" or "TS" in changed["eval_args"]["split"]
    ):
        if PLACE not in whole:
            raise WrongUse(
                f"benchmark_filename: validation is cut from {dataset.benchmark_filename_list[0]!r} in the order of "
                f"time, and there is no field {part.time_field!r}; set eval_args.order to RO, eval_args.split to "
                "{LS: test_only} (no validation), or name three files"
            )
        part.time_field = PLACE
    return *(each.inter_feat for each in Dataset.build(part)[:2]), rule


def _rule(config: Any) -> tuple[str, dict[str, Any] | None]:
    """The split rule in words, and the settings that cut validation alone from training; None: it cuts none."""
    own, args = config["split"], config["eval_args"]
    if own:
        changed = {"split": {**own, "random": [*_shares(own["random"]), 0.0]}} if own["random"][1] else None
        return f"split: {own}", changed
    how, value = next(iter(args["split"].items()))
    split: dict[str, Any] | None
    if how == "LS":
        split = None if value == "test_only" else {"LS": "valid_only"}
    else:
        split = {how: [*_shares(value), 0.0][: 3 if how == "TS" else 2]} if value[1] else None
    return f"eval_args.split {args['split']}", split and {"eval_args": {**args, "split": split}}


def _shares(three: list[float]) -> list[float]:
    """Of training and validation alone."""
    return [share / sum(three[:2]) for share in three[:2]]

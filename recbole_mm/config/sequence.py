"""Settings of sequential data that follow from others: training without prefixes, files that hold sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole.utils import ModelType

from recbole_mm.errors import WrongUse
from recbole_mm.model.traits import CAUSAL, is_causal, is_padding_free


def shifted_sequences(plan: Any) -> None:
    """``train_sequences: shifted`` needs the interactions, and a model whose every position may predict.

    Args:
        plan: that of `recbole_mm.config.family.adapt`.

    Raises:
        WrongUse: the model or another key is at odds with it.
    """
    key = "train_sequences"
    if plan.get(key) != "shifted" or plan.type != "SEQUENTIAL":
        return
    if not is_causal(plan.model_class):
        raise WrongUse(
            f"{key}: shifted needs a model whose output at a position depends on the items up to it alone, which "
            f"{plan.name} does not say of itself; {', '.join(sorted(CAUSAL))}, SASRecMM and UniSRec do, a model of "
            "your own with causal = True"
        )
    inter = plan.header.of("inter")
    if plan.get("benchmark_filename") and plan.get("ITEM_ID_FIELD") + plan.get("LIST_SUFFIX") in inter:
        raise WrongUse(
            f"{key}: shifted cuts sequences from interactions, and {plan.header.name} comes with its own"
        )
    if plan.given.get("sequence_split") == "prefixes":
        raise WrongUse(
            f"{key}: shifted cuts sequences from interactions, so leave out sequence_split: prefixes"
        )
    if plan.get("transform"):
        raise WrongUse(
            f"{key}: shifted trains on each position, so transform: {plan.get('transform')} has no place"
        )
    if (plan.get("train_neg_sample_args") or {}).get("dynamic"):
        raise WrongUse(f"{key}: shifted draws no dynamic negatives; see train_neg_sample_args")
    if plan.get("sequence_split") == "prefixes" and not plan.get("benchmark_filename"):
        plan.set("sequence_split", "interactions")
        plan.notes.append(f"{plan.name}: sequence_split: interactions ({key}: shifted)")


def split_of_sequences(plan: Any) -> None:
    """Parts of interactions are made before sequences, not of prefixes; to be called behind `shifted_sequences`.

    Raises:
        WrongUse: ``split`` or ``cold_items`` where sequences are cut before, or are in the files.
    """
    own = [key for key in ("split", "cold_items") if plan.get(key)]
    if not own or plan.type != "SEQUENTIAL":
        return
    if plan.get("benchmark_filename"):
        if plan.get("ITEM_ID_FIELD") + plan.get("LIST_SUFFIX") in plan.header.of("inter"):
            raise WrongUse(f"{own[0]}: {plan.header.name} comes with its own sequences; leave {own[0]} out")
    elif plan.get("sequence_split") == "prefixes":
        raise WrongUse(
            f"{own[0]}: it splits interactions, and sequence_split is prefixes; set sequence_split: interactions"
        )


def cuts_padding(config: Any) -> bool:
    """Whether training leaves out the padding behind prefixes (``loader: fast``)."""
    prefixes = config["MODEL_TYPE"] == ModelType.SEQUENTIAL and config["train_sequences"] == "prefix"
    fast = config["loader"] == "fast" and config["single_spec"]
    return bool(prefixes and fast and is_padding_free(config.model_class))


def sequences_of_files(plan: Any, inter: Mapping[str, str]) -> None:
    """Files of parts may hold sequences, each row its own (RecBole's ``benchmark_filename``)."""
    item, suffix = plan.get("ITEM_ID_FIELD"), plan.get("LIST_SUFFIX")
    sequence, alias = item + suffix, f"alias_of_{item}"
    if sequence not in inter:
        return
    loaded = (plan.given.get("load_col") or {}).get("inter", "*")
    if loaded != "*" and sequence not in loaded:
        raise WrongUse(
            f"load_col: the rows of {plan.header.folder / plan.header.name}.*.inter come with their sequences "
            f"({sequence}), which it leaves out; add {sequence}"
        )
    if sequence not in (plan.given.get(alias) or [sequence]):
        raise WrongUse(f"{alias}: {sequence} holds items too; add it")
    plan.load("inter", [field for field in inter if field.endswith(suffix)])
    plan.set(alias, [sequence])

"""Defaults of the families of models: what a model needs to run when nothing but its name is given."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from recbole_mm.config.evaluation import split_by_type
from recbole_mm.config.header import Header, first_values
from recbole_mm.config.properties import load_internal
from recbole_mm.config.sequence import sequences_of_files, shifted_sequences, split_of_sequences
from recbole_mm.config.side import (
    EMBEDDING_ALL,
    SELECTING,
    columns_of,
    kind_field,
    numbers_to_read,
    of_rows_alone,
    unread,
)
from recbole_mm.errors import WrongUse
from recbole_mm.files import properties_dir
from recbole_mm.model import defaults_of, is_recbole

_STAR = 4.0  # RecBole's own threshold on ml-100k


def family_defaults(model_class: type) -> dict[str, Any]:
    """The settings of ``properties/family.yaml`` for this model, alike on every data set."""
    settings: dict[str, Any] = {}
    home = defaults_of(model_class)
    model_type = model_class.type.name  # type: ignore[attr-defined]  # `Config` has checked it
    for family in load_internal(properties_dir() / "family.yaml").values():
        named = home.__name__ in family.get("models", ()) and is_recbole(home)
        if named or model_type == family.get("type"):
            settings.update(family["set"])
    return settings


def adapt(
    internal: Mapping[str, Any], given: Mapping[str, Any], model_class: type, header: Header
) -> tuple[dict[str, Any], list[str]]:
    """Defaults that depend on the loss, on what was given and on the fields of the data set.

    Args:
        internal: all defaults, merged.
        given: what a person gave; none of these keys is changed.
        model_class: the model.
        header: fields of the atomic files.

    Returns:
        (changes to the defaults, a sentence for each choice that a person should know of).

    Raises:
        WrongUse: the data set lacks what the model cannot do without.
    """
    plan = _Plan(internal, given, model_class, header)
    steps = (
        plan.unset, plan.unload, plan.negatives, plan.labels, plan.item_features, plan.numbers,
        plan.pretraining, plan.columns, plan.catalogue, plan.unseen_fields, partial(shifted_sequences, plan),
        partial(split_of_sequences, plan),
    )  # fmt: skip
    for step in steps:
        step()
    return plan.changes, plan.notes


def takes_no_negatives(model_class: type) -> bool:
    """Whether sampled negatives are of no use to a model of RecBole's, or would count as interactions."""
    settings = family_defaults(model_class)
    return is_recbole(defaults_of(model_class)) and settings.get("train_neg_sample_args", model_class) is None


def no_negatives(args: Any) -> bool:
    """Whether ``train_neg_sample_args`` asks for none, in any of the ways that RecBole writes it."""
    value = args.get("distribution", "uniform") if isinstance(args, Mapping) else args
    return str(value).lower() == "none"


class _Plan:
    """The changes so far; every step sees those before it."""

    def __init__(
        self, internal: Mapping[str, Any], given: Mapping[str, Any], model_class: type, header: Header
    ) -> None:
        self.internal, self.given, self.model_class, self.header = internal, given, model_class, header
        self.name, self.home = model_class.__name__, defaults_of(model_class)
        self.type = model_class.type.name  # type: ignore[attr-defined]
        self.changes: dict[str, Any] = {}
        self.notes: list[str] = []

    def get(self, key: str) -> Any:
        for layer in (self.given, self.changes, self.internal):
            if key in layer:
                return layer[key]
        return None

    def set(self, key: str, value: Any) -> None:
        if key not in self.given:
            self.changes[key] = value

    def unset(self) -> None:
        """RecBole's yamls of data sets write ``~`` for keys they do not use, over what a family sets."""
        for key, value in family_defaults(self.model_class).items():
            if value is not None and self.internal.get(key) is None:
                self.set(key, value)

    def unload(self) -> None:
        """``unload_col`` beside the default of ``load_col``, which RecBole refuses: all other columns are loaded."""
        left, load_col = self.get("unload_col") or {}, self.get("load_col")
        if isinstance(load_col, dict) and "load_col" not in self.given and left:
            self.set("load_col", {**load_col, **dict.fromkeys(left, "*")})
            files = " and ".join(f".{suffix}" for suffix in left)
            self.notes.append(f"unload_col: all other columns of {files} are loaded")

    def negatives(self) -> None:
        """Sequential models that rank the whole catalogue in the loss take no negatives, others need them."""
        input_type = getattr(getattr(self.model_class, "input_type", None), "name", None)
        key = "train_neg_sample_args"
        loss_ranks_all = self.type == "SEQUENTIAL" and self.get("loss_type") in ("CE", "NLL")
        if input_type == "LISTWISE" or loss_ranks_all:
            self.set(key, None)
        wants_none = loss_ranks_all or key in family_defaults(self.model_class)
        known_pairs = is_recbole(self.model_class) and input_type == "PAIRWISE"
        if known_pairs and not wants_none and key in self.given and no_negatives(self.given[key]):
            raise WrongUse(f"{key}: {self.name} learns from pairs and needs negatives; leave the key out")

    def labels(self) -> None:
        """Context models learn 0/1 labels: a field, stars of a rating, or clicks against sampled items."""
        if self.type not in ("CONTEXT", "DECISIONTREE"):
            return
        metrics = self.get("metrics")
        ranking, _ = split_by_type([metrics] if isinstance(metrics, str) else list(metrics))
        label, rating = self.get("LABEL_FIELD"), self.get("RATING_FIELD")
        inter = self.header.of("inter")
        if not inter or {"train_neg_sample_args", "eval_args", "threshold"} & self.given.keys():
            return
        if ranking and "metrics" in self.given:
            # trees score row by row and would take hours for a catalogue
            self._clicks(f"to rank ({', '.join(ranking)})", "full" if self.type == "CONTEXT" else "uni100")
        elif label in inter or self.get("threshold") is not None:
            return
        elif rating in inter and self._has_stars(rating):
            self.set("threshold", {rating: _STAR})
            self.notes.append(f"{self.name}: label = {rating} >= {_STAR:g} (threshold)")
        else:
            self._clicks(f"no field '{label}' and no star ratings")

    def _has_stars(self, rating: str) -> bool:
        values = first_values(self.header, rating, self.get("field_separator") or "\t")
        return bool(values) and 0 <= min(values) < _STAR <= max(values) <= 5

    def _clicks(self, why: str, mode: str = "uni100") -> None:
        self.set("threshold", None)
        self.set("train_neg_sample_args", {"distribution": "uniform", "sample_num": 1})
        self.set("eval_args", {**(self.get("eval_args") or {}), "group_by": "user", "mode": mode})
        how = f"label = clicked, against sampled items (eval_args.mode: {mode})"
        self.notes.append(f"{self.name}: {why}: {how}")

    def unseen_fields(self) -> None:
        """A context model that ranks items sees no field of a row that no candidate has: a part, a rating, a time."""
        mode = (self.get("eval_args") or {}).get("mode") or "full"
        modes = set(mode.values()) if isinstance(mode, Mapping) else {mode}
        if self.type != "CONTEXT" or "full" not in modes or "unused_col" in self.given:
            return
        if unseen := of_rows_alone(self.header, self.get):
            self.set("unused_col", {"inter": unseen})
            self.notes.append(f"{self.name} ranks items and does not see {', '.join(unseen)} (unused_col)")

    def item_features(self) -> None:
        """Models on item features read ``class``, a field of ml-100k; elsewhere take one of that kind."""
        key = "selected_features" if self.home.__name__ in SELECTING else "item_attribute"
        if self.type != "SEQUENTIAL" or not is_recbole(self.home) or self.get(key) is None:
            return
        if not self.header.of("inter"):  # no data set to choose from; check_dataset says so
            return
        have, wanted = self.header.of("item"), self.get(key)
        wanted = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]
        if key not in self.given and any(name not in have for name in wanted):
            wanted = [kind_field(self.name, self.header, self.get)]
            self.set(key, wanted if key == "selected_features" else wanted[0])
            self.notes.append(f"{self.name}: item feature '{wanted[0]}' ({key})")
        missing = [name for name in wanted if name not in have]
        if missing:
            lack = f"{self.header.file('item')} has no field '{missing[0]}'"
            raise WrongUse(f"{key}: {lack}; it has {', '.join(have) or 'none'}")
        kind = have[wanted[0]]
        if key == "item_attribute" and not kind.startswith("token"):
            tokens = [f for f in have if have[f].startswith("token") and f != self.get("ITEM_ID_FIELD")]
            takes = f"{self.name} takes a token field: {', '.join(tokens) or 'there is none'}"
            raise WrongUse(f"{key}: '{wanted[0]}' is a {kind} field, and {takes}")
        self.load("item", [self.get("ITEM_ID_FIELD"), *wanted])

    def numbers(self) -> None:
        """Models read a float field of users or items only where ``numerical_features`` names it."""
        key, name, header = "numerical_features", self.home.__name__, self.header
        of_all = self.type == "CONTEXT" or name in EMBEDDING_ALL
        if not (of_all or name in SELECTING) or not header.of("inter"):
            return
        wanted = self.get("selected_features") if name in SELECTING else ()
        before = list(self.get(key) or ())
        named = numbers_to_read(self.name, header, self.get, wanted, key in self.given)
        if named != before:
            self.set(key, named)
            self.notes.append(f"{self.name}: float fields {', '.join(named)} ({key})")
        for suffix, columns in columns_of(header, self.get, named).items():
            self.load(suffix, columns)
        if of_all and (left := unread(header, self.get, named)):
            fields = f"float field{'s' * (len(left) > 1)} {', '.join(left)}"
            self.notes.append(
                f"{self.name}: {fields} not read; {key}: [{', '.join([*named, *left])}] does it"
            )

    def pretraining(self) -> None:
        """S3Rec and RaCT count pre-training in keys of their own, and save nothing before ``save_step``."""
        epochs = self.get("pretrain_epochs")
        if epochs is None or self.get("save_step") is None or not is_recbole(self.home):
            return
        if "epochs" in self.given and "pretrain_epochs" not in self.given:
            epochs = self.given["epochs"]
            self.set("pretrain_epochs", epochs)
            self.notes.append(f"{self.name}: {epochs} epochs of pre-training (pretrain_epochs)")
        self.set("save_step", max(1, min(self.get("save_step"), epochs)))

    def columns(self) -> None:
        """Load the fields of ``.inter`` that something needs: the order of time, a label, a filter."""
        inter = self.header.of("inter")
        if not inter:
            return
        order = self.get("eval_args") or {}
        time = self.get("TIME_FIELD")
        sequential = self.type == "SEQUENTIAL"
        by_time = sequential or order.get("order") == "TO" or "TS" in (order.get("split") or {})
        if by_time and not self.get("benchmark_filename"):
            if time not in inter:
                who = self.name if sequential else "eval_args"
                lack = f"{self.header.file('inter')} has no field '{time}' (TIME_FIELD)"
                raise WrongUse(f"{who} needs the order of time, and {lack}; it has {', '.join(inter)}")
            self.load("inter", [time])
        elif by_time:
            self.load("inter", [time] if time in inter else [])
            if sequential:
                sequences_of_files(self, inter)
        fields = [*(self.get("threshold") or {}), *(self.get("val_interval") or {})]
        if self.type in ("CONTEXT", "DECISIONTREE"):
            fields.append(self.get("LABEL_FIELD"))
        if self.get("inter_matrix_type") == "rating":
            fields.append(self.get("RATING_FIELD"))
        self.load("inter", [name for name in fields if name in inter])
        vectors = family_defaults(self.model_class).get("preload_weight", {})
        if vectors:
            suffixes = [name.removesuffix("_id") for name in vectors]
            self.set("additional_feat_suffix", suffixes)
            for suffix in ("kg", "link", *suffixes):
                self.load(suffix, list(self.header.of(suffix)))

    def catalogue(self) -> None:
        """``candidates: catalogue``: load the ids of all items, whether or not the model reads their table."""
        if self.get("candidates") != "catalogue" or not self.header.of("inter"):
            return
        item = self.get("ITEM_ID_FIELD")
        if item not in self.header.of("item"):
            raise WrongUse(
                f"candidates: catalogue is all items of the table of items, and {self.header.file('item')} has no "
                f"field '{item}'"
            )
        self.load("item", [item])
        loaded = self.get("load_col")
        if isinstance(loaded, dict) and loaded.get("item") != "*" and item not in loaded.get("item", ()):
            raise WrongUse(f"load_col: candidates: catalogue needs item: [{item}]")

    def load(self, suffix: str, fields: list[str]) -> None:
        """Add fields to ``load_col``, unless a person chose the columns."""
        load_col = self.get("load_col")
        if not isinstance(load_col, dict) or load_col.get(suffix) == "*":
            return
        have = list(load_col.get(suffix) or ())
        if add := [name for name in dict.fromkeys(fields) if name not in have]:
            self.set("load_col", {**load_col, suffix: [*have, *add]})

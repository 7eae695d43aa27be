"""Several domains over one id space: N atomic data sets, or one set and a rule that names each row's domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.utils import FeatureSource, FeatureType

from recbole_mm.atomic import header_fields, read_atomic
from recbole_mm.data.dataset import MultimodalMixin
from recbole_mm.data.link import domain_tokens, overlaps, own_tokens
from recbole_mm.data.sequence import BY_PARTS
from recbole_mm.errors import WrongUse
from recbole_mm.modality import find_stores, resolve_stores

DOMAIN = "domain"


def is_cross_domain(config: Any) -> bool:
    """Whether the configuration names domains in any of the three ways."""
    return bool(config["domains"] or config["domain_field"] or config["domain_rule"])


class CrossDomainMixin(MultimodalMixin):
    """A RecBole data set whose interactions and items have a domain.

    ``domains: [a, b]`` merges the atomic sets a and b; ``domain_field`` names a token field of ``.inter`` or
    ``.item``; ``domain_rule: genre`` groups by a field of tags. Domains are numbered in alphabetical order, so the
    order in which they are named changes nothing.

    Attributes:
        domain_names: K names.
        item_domain: LongTensor ``[I]``, -1 for ``[PAD]`` and for items no row gives a domain; an item of several
            domains counts to its first, once the rows are split to the first of its training rows.
        item_in_domain: BoolTensor ``[I, K]``.
    """

    item_domain: torch.Tensor  # set while the data are read
    item_in_domain: torch.Tensor
    inter_feat: Any  # RecBole's
    _rest_fields: Any

    def _load_data(self, token: str, dataset_path: str) -> None:
        if self.config["domains"]:
            self._load_domains(Path(dataset_path).parent)
        else:
            super()._load_data(token, dataset_path)
            self.inter_feat[DOMAIN] = self._domain_of_rows(Path(dataset_path) / f"{token}.item")
        self.field2type[DOMAIN] = FeatureType.TOKEN
        self.field2source[DOMAIN] = FeatureSource.INTERACTION
        self.field2seqlen[DOMAIN] = 1

    def _get_load_and_unload_col(self, source: Any) -> Any:
        load, unload = super()._get_load_and_unload_col(source)
        field = self.config["domain_field"]
        if load and field and source == FeatureSource.INTERACTION:
            load = load | {field}
        return load, unload

    # -- N atomic sets -------------------------------------------------------------------------------------------

    def _load_domains(self, root: Path) -> None:
        names = sorted(str(name) for name in self.config["domains"])
        if len(set(names)) < max(len(names), 2):
            given = self.config["domains"]
            raise WrongUse(f"domains: expected two or more different data sets, got {given!r}")
        parts: list[list[pd.DataFrame]] = []
        others: dict[str, list[pd.DataFrame]] = {"user_feat": [], "item_feat": []}
        widest: dict[str, int] = {}
        for name in names:
            super()._load_data(name, str(root / name))
            self._own_tokens(name)
            self.inter_feat[DOMAIN] = name
            sizes = getattr(self, "file_size_list", [len(self.inter_feat)])
            bounds = np.cumsum([0, *sizes])
            parts.append([self.inter_feat.iloc[a:b] for a, b in pairwise(bounds)])
            for attribute, frames in others.items():
                if getattr(self, attribute) is not None:
                    frames.append(getattr(self, attribute))
            for field, length in self.field2seqlen.items():
                widest[field] = max(length, widest.get(field, 0))
        self.field2seqlen.update(widest)
        # part by part, so that RecBole's benchmark files stay training, validation, test
        by_part = [pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True)]
        self.inter_feat = self._without_holes(pd.concat(by_part, ignore_index=True))
        if hasattr(self, "file_size_list"):
            self.file_size_list = [len(part) for part in by_part]
        for attribute, field in (("user_feat", self.uid_field), ("item_feat", self.iid_field)):
            if others[attribute]:
                merged = pd.concat(others[attribute], ignore_index=True).drop_duplicates(field)
                setattr(self, attribute, self._without_holes(merged))

    def _own_tokens(self, domain: str) -> None:
        """Apply the link files, and keep equal tokens of two domains apart where they mean different things."""
        for kind, field in (("user", self.uid_field), ("item", self.iid_field)):
            for feat in (self.inter_feat, getattr(self, f"{kind}_feat")):
                if feat is not None:
                    feat[field] = own_tokens(self.config, kind, domain, feat[field])

    def _without_holes(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A sequence field that one of the merged sets lacks is an empty sequence there."""
        for field in frame.columns:
            kind = self.field2type.get(field, FeatureType.TOKEN)
            if kind in (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ) and frame[field].isna().any():
                empty = np.array([], dtype=str if kind == FeatureType.TOKEN_SEQ else float)
                filled = [value if isinstance(value, np.ndarray) else empty for value in frame[field]]
                frame[field] = pd.Series(filled, index=frame.index, dtype=object)
        return frame.reset_index(drop=True)

    # -- one set and a rule --------------------------------------------------------------------------------------

    def _domain_of_rows(self, item_file: Path) -> pd.Series:
        field, rule = self.config["domain_field"], self.config["domain_rule"]
        if field and field in self.inter_feat:
            return self.inter_feat[field].map(str, na_action="ignore")
        if rule not in (None, "genre"):
            raise WrongUse(f"domain_rule: expected 'genre', got {rule!r}")
        source = field or self.config["domain_rule_field"]
        of_item = _read_item_field(self.config, item_file, source)
        if rule:
            groups = self.config["domain_groups"]
            of_item = {item: group_of_tags(str(tags).split(), groups) for item, tags in of_item.items()}
        return self.inter_feat[self.iid_field].map(of_item)

    # -- ids -----------------------------------------------------------------------------------------------------

    def _remap_ID_all(self) -> None:  # noqa: N802 (RecBole's name)
        self._rest_fields = np.setdiff1d(self._rest_fields, [DOMAIN])
        super()._remap_ID_all()
        self._refuse_blank_domains()
        codes, found = pd.factorize(self.inter_feat[DOMAIN].astype(str), sort=True)
        names = np.array(found, dtype=object)
        empty = sorted(set(map(str, self.config["domains"] or ())) - set(names))
        if empty:
            raise WrongUse(
                f"domain {empty[0]!r} has no interaction left after filtering; loosen the filters or leave it out"
            )
        if len(names) < 2:
            raise WrongUse(f"there is one domain only, {names[0]!r}; see domains, domain_field, domain_rule")
        self.domain_names = names.tolist()
        self.field2id_token[DOMAIN] = names
        self.field2token_id[DOMAIN] = {name: k for k, name in enumerate(names)}
        self.inter_feat[DOMAIN] = codes
        member = np.zeros((len(self.field2id_token[self.iid_field]), len(names)), dtype=bool)
        member[self.inter_feat[self.iid_field], codes] = True
        self.item_in_domain = torch.from_numpy(member)
        self.item_domain = torch.from_numpy(np.where(member.any(axis=1), member.argmax(axis=1), -1))
        self._report_overlap()

    def _refuse_blank_domains(self) -> None:
        blank = self.inter_feat[DOMAIN].isna() | (self.inter_feat[DOMAIN] == "")
        if blank.any():
            lost = self.inter_feat.loc[blank, self.iid_field].iloc[0]
            item = str(self.field2id_token[self.iid_field][lost])
            field = self.config["domain_field"] or self.config["domain_rule_field"]
            raise WrongUse(
                f"{int(blank.sum())} interactions have no domain, the first with item {item!r}; fill in {field!r} "
                "or leave them out"
            )

    # -- split ---------------------------------------------------------------------------------------------------

    def build(self) -> list[Any]:
        """The three parts; what ``item_domain`` says of an item of several domains, no test row decides."""
        parts: list[Any] = super().build()
        domain, rows = self.item_domain.clone(), parts[0].inter_feat
        first = torch.full_like(domain, len(self.domain_names))
        first.scatter_reduce_(0, rows[self.iid_field].long(), rows[DOMAIN].long(), "amin")
        trained = first < len(self.domain_names)
        domain[trained] = first[trained]
        for each in (self, *parts):
            each.item_domain = domain
        return parts

    def split_groups(self, feat: Any) -> np.ndarray:
        """RecBole's splits group rows by user; of several domains, by user and domain.

        The prefixes that RecBole cuts of sequences run through all domains, so they stay a user's.
        """
        users = super().split_groups(feat)
        if self.sequence_split not in (None, BY_PARTS):
            return users
        return users.astype(np.int64) * len(self.domain_names) + feat[DOMAIN].numpy()

    def _grouped_index(self, group_by_list: np.ndarray) -> Any:
        groups = self.split_groups(self.inter_feat)
        if (groups != group_by_list).any():
            getLogger("recbole_mm.data").info("split by user and domain: each user's rows in each domain")
        return super()._grouped_index(groups)

    # -- overlap -------------------------------------------------------------------------------------------------

    def _report_overlap(self) -> None:
        log = getLogger("recbole_mm.data")
        pairs = self.inter_feat[[self.uid_field, DOMAIN]].drop_duplicates()
        overlap = int((pairs[self.uid_field].value_counts() > 1).sum())
        per_domain = pairs[DOMAIN].value_counts()
        shared_items = int((self.item_in_domain.sum(dim=1) > 1).sum())
        for k, name in enumerate(self.domain_names):
            items, rows = int(self.item_in_domain[:, k].sum()), int((self.inter_feat[DOMAIN] == k).sum())
            log.info("domain %s: %d users, %d items, %d interactions", name, per_domain[k], items, rows)
        log.info("%d users and %d items in more than one domain", overlap, shared_items)
        if not overlap and not shared_items:
            log.warning("no user and no item is in two domains, so nothing links them but the features")

    # -- stores --------------------------------------------------------------------------------------------------

    def store_parts(self) -> dict[str, list[tuple[Path, np.ndarray]]]:
        """Per modality the stores, each with the items' tokens as it knows them: one for all, or one per domain."""
        tokens = self.field2id_token[self.iid_field]
        wanted = self.config["modalities"]
        root = Path(self.config["modality_path"])
        if not self.config["domains"]:
            return super().store_parts()
        # in alphabetical order, so that the order of `domains` changes nothing
        per_domain = {name: find_stores(root / name) for name in self.domain_names}
        if isinstance(wanted, dict) or not any(per_domain.values()):
            if not overlaps(self.config, "item"):
                tokens = np.array([t.split(":", 1)[-1] for t in tokens])
            paths = resolve_stores(wanted, root, self.config["dataset"])
            return {name: [(path, tokens)] for name, path in paths.items()}
        found = sorted({name for stores in per_domain.values() for name in stores})
        missing = [name for name in wanted or [] if name not in found]
        if missing:
            folders = ", ".join(str(root / name) for name in self.domain_names)
            raise WrongUse(f"modality {missing[0]!r} is in none of {folders}; there are {found}")
        return {
            name: [
                (stores[name], domain_tokens(self.config, "item", domain, tokens))
                for domain, stores in per_domain.items()
                if name in stores
            ]
            for name in (found if wanted is None else wanted)
        }


def group_of_tags(tags: Sequence[str], groups: Mapping[str, Sequence[str]]) -> str:
    """The group with most of ``tags``; a tie goes to that of the first tag listed, none to the last group."""
    counts = {name: sum(tag in members for tag in tags) for name, members in groups.items()}
    most = max(counts.values())
    if most == 0:
        return list(groups)[-1]
    best = [name for name, count in counts.items() if count == most]
    return next(name for tag in tags for name in best if tag in groups[name])


def _read_item_field(config: Any, path: Path, field: str) -> dict[str, str]:
    """``item token -> value`` of one field of an ``.item`` file."""
    if not path.is_file():
        raise WrongUse(f"{path} does not exist, but {field!r} shall name the items' domains")
    form = config["field_separator"], config["encoding"]
    there = header_fields(path, *form)
    columns = {}
    for column in (config["ITEM_ID_FIELD"], field):
        if column not in there:
            raise WrongUse(f"{path}: no field {column!r}; there are {', '.join(there)}")
        columns[column] = f"{column}:{there[column]}"
    table = read_atomic(path, *form, dict.fromkeys(columns.values(), str), keep_default_na=False)
    return dict(zip(*(table[name] for name in columns.values()), strict=True))

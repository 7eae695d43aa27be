"""RecBole's data sets with modalities and our splits: a mixin over whichever class RecBole would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset, DIENDataset, SequentialDataset
from recbole.data.interaction import cat_interactions
from recbole.utils import FeatureSource

from recbole_mm.data.exact import ExactMixin
from recbole_mm.data.graph_cache import co_interactions
from recbole_mm.data.modality import ItemModality, ModalityTable, load_modalities
from recbole_mm.data.phase_sampler import one_item
from recbole_mm.data.presplit import presplit_parts
from recbole_mm.data.review import review_places, review_vectors
from recbole_mm.data.seen import Pairs, keep_pairs, warn_of_repeated
from recbole_mm.data.sequence import SequenceMixin
from recbole_mm.data.split import cold_rows, hold_out_cold_items, split_rows
from recbole_mm.data.ties import TiesMixin
from recbole_mm.errors import WrongUse, count
from recbole_mm.modality import resolve_stores

_FILTERS = (
    "user_inter_num_interval",
    "item_inter_num_interval",
    "val_interval",
    "filter_inter_by_user_or_item",
)


class MultimodalMixin(TiesMixin, ExactMixin):
    """Adds ``modality`` (item features on internal ids) and ``config['split']`` to a RecBole data set.

    The attributes that a data set of ours may have are declared here with their defaults.
    """

    config: Any
    modality: ModalityTable | None = None
    #: ids of the items held out, ascending
    cold_items: np.ndarray | None = None
    #: names of the domains; none where there is one
    domain_names: Sequence[str] = ()
    #: ``[I]`` number of each item's domain, -1 for ``[PAD]`` and for items no row gives one; None where there is one
    item_domain: torch.Tensor | None = None
    #: of a part, its name, and the pairs of user and item of all parts by theirs (`recbole_mm.data.seen`)
    phase: str
    pairs: Mapping[str, Pairs]
    #: of a part: ``[I]`` bool, whether an item has a row in any part
    interacted: np.ndarray
    #: SHA-256 of the files it was read from, by their names, where a process that may not read them records a run
    file_hashes: Mapping[str, str] = MappingProxyType({})

    @property
    def sequence_split(self) -> str | None:
        """What the sequences were cut from (`SequenceMixin`); None where the model takes none."""
        return None

    def _reset_index(self) -> None:
        for name in self.feat_name_list:
            if getattr(self, name).empty:
                used = {key: self.config[key] for key in _FILTERS if self.config[key]}
                left = f"by the filters {used}; loosen them" if used else "that has all its ids"
                raise WrongUse(f"{self.dataset_name}: no row of {name} is left {left}")
        super()._reset_index()

    def _load_feat(self, filepath: str, source: Any) -> Any:
        feat = super()._load_feat(filepath, source)
        field = {FeatureSource.USER: self.uid_field, FeatureSource.ITEM: self.iid_field}.get(source)
        if feat is not None and field in feat and (again := int(feat[field].duplicated().sum())):
            getLogger("recbole_mm.data").warning(
                "%s: %s left out, whose %s is in a row before", filepath, count(again, "row"), source.value
            )
        return feat

    def _filter_inter_by_user_or_item(self) -> None:
        before = len(self.inter_feat)
        super()._filter_inter_by_user_or_item()
        if left := before - len(self.inter_feat):
            getLogger("recbole_mm.data").warning(
                "%s: %d of %d interactions left out, whose user is not in the .user or whose item not in the .item "
                "file (filter_inter_by_user_or_item: False keeps them)",
                self.dataset_name, left, before,
            )  # fmt: skip

    def _data_processing(self) -> None:
        super()._data_processing()
        if isinstance(self, DIENDataset) and self.item_num <= 2:  # it would draw for ever
            raise one_item(self)

    def load_modalities(self) -> None:
        """Align the configured stores to the remapped item ids; sets ``modality``."""
        parts = self.store_parts()
        if not parts and self.config["modalities"] != []:
            where = Path(self.config["modality_path"]) / self.config["dataset"]
            getLogger("recbole_mm.data").warning(
                "%s: no vectors of the items in %s, so this is a run on ids only; recbole-mm extract makes them",
                self.config["model"], where,
            )  # fmt: skip
        self.modality = load_modalities(self.config, parts, self.item_num)

    def load_reviews(self, with_items: bool = True) -> ItemModality:
        """The review vector of each row; call it on the training part, so that no other review is read."""
        return review_vectors(self.config, self, with_items)

    def has_reviews(self) -> bool:
        """Whether there is a store of reviews for any of the data."""
        return any(path.is_dir() for path, _ in review_places(self.config, self))

    def co_interactions(self, kind: str, k: int | None, min_common: int) -> Any:
        """Users or items (``kind``) that meet; call it on the training part, whose rows alone are looked at."""
        return co_interactions(self, kind, k, min_common)

    def store_parts(self) -> dict[str, list[tuple[Path, np.ndarray]]]:
        """Per modality the stores that hold it, each with the ``[I]`` item tokens as that store knows them."""
        tokens = self.field2id_token[self.iid_field]
        asked, root = self.config["modalities"], self.config["modality_path"]
        paths = resolve_stores(asked, root, self.config["dataset"])
        return {name: [(path, tokens)] for name, path in paths.items()}

    def build(self) -> list[Any]:
        """Training, validation and test data sets; by ``config['split']`` where it is set, else RecBole's.

        With ``cold_items``, a share of the items is in the test part alone, with all interactions.
        """
        if self.config["benchmark_filename"] is not None:
            parts = presplit_parts(self)
        elif not self.config["split"]:
            parts = self.settle_ties(self._recbole_parts())
        else:
            self._change_feat_format()
            rows = split_rows(self.config, self)
            self._drop_unused_col()
            parts = [copy_of_rows(self, part) for part in rows]
        parts = self._hold_out(parts) if self.config["cold_items"] else parts
        keep_pairs(parts)
        warn_of_repeated(parts[0])
        return parts

    def _recbole_parts(self) -> list[Any]:
        """The parts as RecBole makes them."""
        return list(super().build())

    def _hold_out(self, parts: list[Any]) -> list[Any]:
        feats = [part.inter_feat for part in parts]
        items = [feat[self.iid_field].numpy() for feat in feats]
        share, seed = self.config["cold_items"], self.config["split_seed"]
        self.cold_items = cold = hold_out_cold_items(np.concatenate(items), share, seed)
        *kept, test = feats
        held = [torch.from_numpy(cold_rows(part, cold)) for part in items[:2]]
        moved = [feat[mask] for feat, mask in zip(kept, held, strict=True)]
        feats = [feat[~mask] for feat, mask in zip(kept, held, strict=True)]
        feats.append(cat_interactions([test, *moved]))
        log = getLogger("recbole_mm.data")
        log.info("cold items: %d, with all their interactions in the test part", len(cold))
        return [self.copy(feat) for feat in feats]


def copy_of_rows(dataset: Any, rows: np.ndarray) -> Any:
    """A data set as ``dataset`` with some rows of its interactions."""
    return dataset.copy(dataset.inter_feat[rows])


class MultimodalDataset(MultimodalMixin, Dataset):
    """General and context-aware data set with modalities."""


class MultimodalSequentialDataset(SequenceMixin, MultimodalMixin, SequentialDataset):
    """Sequential data set with modalities."""

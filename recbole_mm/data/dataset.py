"""RecBole's data sets with modalities and our splits: a mixin over whichever class RecBole would take."""

from __future__ import annotations

from typing import Any

from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction

from recbole_mm.data.modality import ModalityTable, load_modalities
from recbole_mm.data.split import split_rows
from recbole_mm.errors import WrongUse


class MultimodalMixin:
    """Adds ``modality`` (item features on internal ids) and ``config['split']`` to a RecBole data set."""

    config: Any
    modality: ModalityTable | None = None

    def load_modalities(self) -> None:
        """Align the configured stores to the remapped item ids; sets ``modality``."""
        tokens = self.field2id_token[self.iid_field]  # type: ignore[attr-defined]
        self.modality = load_modalities(self.config, tokens)

    def build(self) -> list[Any]:
        """Training, validation and test data sets; by ``config['split']`` where it is set, else RecBole's."""
        if not self.config["split"]:
            return super().build()  # type: ignore[misc]
        if isinstance(self, SequentialDataset):
            raise WrongUse(
                "split: sequential models take RecBole's leave-one-out (eval_args: {split: {LS: valid_and_test}})"
            )
        self._change_feat_format()  # type: ignore[attr-defined]
        rows = split_rows(self.config, self)
        self._drop_unused_col()  # type: ignore[attr-defined]
        return [self._part(part) for part in rows]

    def _part(self, rows: Any) -> Any:
        whole: Interaction = self.inter_feat  # type: ignore[attr-defined]
        part = Interaction({field: whole[field][rows] for field in whole.columns})
        return self.copy(part)  # type: ignore[attr-defined]


class MultimodalDataset(MultimodalMixin, Dataset):
    """General and context-aware data set with modalities."""


class MultimodalSequentialDataset(MultimodalMixin, SequentialDataset):
    """Sequential data set with modalities."""


def multimodal(cls: type) -> type:
    """``cls`` with :class:`MultimodalMixin` in front, so that every RecBole data set takes part."""
    ready = {Dataset: MultimodalDataset, SequentialDataset: MultimodalSequentialDataset}
    return ready.get(cls) or type(f"Multimodal{cls.__name__}", (MultimodalMixin, cls), {})

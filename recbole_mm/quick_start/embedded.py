"""The embedded default: modalities of the ml-100k that ships inside the RecBole wheel.

``text`` is a film's title, year and genres; ``knowledge`` its neighbours in the bundled knowledge graph. Both are
TF-IDF then SVD of what the files say; nothing is invented.
"""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_mm.convert.movielens import item_text, knowledge_documents
from recbole_mm.extract.tfidf import encode_tfidf
from recbole_mm.modality import ModalityStore, find_stores

DATASET = "ml-100k"
WIDTH = 128
SVD_SEED = 0
NAMES = frozenset(["text", "knowledge"])
SOURCE = "RecBole's bundled ml-100k"


def ensure_embedded_stores(config: Any) -> None:
    """Build the stores ``text`` and ``knowledge`` of ml-100k where modalities are needed and none are there."""
    wanted = config["modalities"]
    folder = Path(config["modality_path"]) / DATASET
    plugged = config["pretrained_items"] or ()
    names = [plugged] if isinstance(plugged, str) else [] if isinstance(plugged, dict) else plugged
    by_name = not NAMES.isdisjoint(names)
    by_model = config.trait("multimodal") and wanted != [] and not isinstance(wanted, dict)
    if config["dataset"] != DATASET or not (by_name or by_model):
        return
    there = find_stores(folder)
    foreign = any(ModalityStore.open(path).manifest["source"] != SOURCE for path in there.values())
    if foreign or not NAMES - there.keys():  # a person's own, or all of them
        return
    source = Path(config["data_path"])
    documents = {
        "text": item_text(source / f"{DATASET}.item"),
        "knowledge": knowledge_documents(source / f"{DATASET}.kg", source / f"{DATASET}.link"),
    }
    for name in sorted(NAMES - there.keys()):  # after a kill those that are not there
        table = documents[name]
        values, present = encode_tfidf(table["text"].tolist(), WIDTH, SVD_SEED)
        ModalityStore.write(
            folder / name,
            values[present],
            table["token"].to_numpy()[present],
            modality=name,
            encoder=f"tfidf-svd-{WIDTH}",
            source=SOURCE,
        )
    getLogger("recbole_mm").info("built the embedded modalities %s in %s", ", ".join(documents), folder)

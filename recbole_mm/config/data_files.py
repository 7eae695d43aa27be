"""Refuse a data set that cannot work, in one line, before RecBole starts to load (or to download) it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_mm.atomic import header_fields, suffixes
from recbole_mm.config.header import is_loaded
from recbole_mm.config.properties import load_internal, recbole_dir
from recbole_mm.errors import WrongUse, suggest

_KEYS_OF = {
    "inter": ("USER_ID_FIELD", "ITEM_ID_FIELD"),
    "user": ("USER_ID_FIELD",),
    "item": ("ITEM_ID_FIELD",),
    "kg": ("HEAD_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "TAIL_ENTITY_ID_FIELD"),
    "link": ("ITEM_ID_FIELD", "ENTITY_ID_FIELD"),
}


def check_dataset(config: Any) -> None:
    """Check that the files of ``config['dataset']`` are there and start as atomic files do (reads two lines).

    Raises ``WrongUse``: no such data set (with the nearest that is there), a missing or empty ``.inter``, no
    header, the user's or the item's field or a field of ``load_col`` not in it, no file the model cannot do without.
    """
    folder, name = Path(config["data_path"]), config["dataset"]
    files = config["benchmark_filename"]
    if files is not None and len(files) not in (2, 3):
        raise WrongUse(
            f"benchmark_filename: expected [train, valid, test] or [train, test], got {files} (the names between "
            f"{name}. and .inter)"
        )
    domains = config["domains"]  # several data sets over one id space, side by side
    sets = {str(each): folder.parent / str(each) for each in domains or ()} or {name: folder}
    for each, place in sets.items():
        if not place.is_dir():
            raise WrongUse(_no_dataset(place, each))
        for part in files or [None]:
            _check_inter(config, place / f"{each}.{f'{part}.inter' if part else 'inter'}", each)
        _check_others(config, place, each, {} if domains else dict(_needed(config)))
        inter = place / f"{each}.{f'{files[0]}.inter' if files else 'inter'}"
        _warn_of_shared(
            config, {"inter": inter, **{kind: place / f"{each}.{kind}" for kind in ("user", "item")}}
        )
    _check_stores(config)


def _check_stores(config: Any) -> None:
    """A folder of stores that was named is there; those of RecBole's bundled ml-100k are made."""
    asked, root = config["modalities"], Path(str(config["modality_path"]))
    named = "modality_path" in config.external_config_dict and config["dataset"] != "ml-100k"
    reads = config.trait("multimodal") and asked != [] and not isinstance(asked, dict)
    if named and reads and not root.is_dir():
        raise WrongUse(
            f"modality_path: there is no folder {root}; it should hold {root.name}/{config['dataset']}/MODALITY, "
            "or leave the items' vectors out with modalities: []"
        )


def _check_others(config: Any, folder: Path, name: str, needed: Mapping[str, str]) -> None:
    for suffix, content in needed.items():
        file = folder / f"{name}.{suffix}"
        if not file.is_file():
            raise WrongUse(f"model {config['model']} needs {file} ({content}); it is not there")
    others = [suffix for suffix in suffixes(config["additional_feat_suffix"]) if suffix != "inter"]
    for suffix in dict.fromkeys([*others, *needed]):
        file = folder / f"{name}.{suffix}"
        if _is_read(config, suffix, file):
            fields = _header(config, file)
            if suffix in ("user", "item", *needed):
                _check_keys(config, suffix, fields, file)
            if not config["domains"]:  # of several, one may lack what another has
                _check_columns(config, suffix, fields, file)


def _warn_of_shared(config: Any, files: Mapping[str, Path]) -> None:
    """Say which fields two files have: in a batch, RecBole puts those of the later one over those of the earlier."""
    held: dict[str, Path] = {}
    for suffix, file in files.items():
        for field in _header(config, file) if _is_read(config, suffix, file) else ():
            is_id = field in (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"])
            if is_id or not is_loaded(field, suffix, config.__getitem__):
                continue
            if field in held:
                getLogger("recbole_mm.config").warning(
                    "field '%s' is in %s and in %s: what is read is that of the second; rename one, or leave it out by "
                    "load_col or unload_col",
                    field, held[field], file,
                )  # fmt: skip
            held[field] = file


def _no_dataset(folder: Path, name: str) -> str:
    there = list(_datasets(folder.parent))
    message = f"no data set '{name}': there is no folder {folder}{suggest(name, there, cutoff=0.5)}"
    url = load_internal(recbole_dir() / "properties/dataset/url.yaml").get(name)
    return f"{message}; RecBole offers it at {url}" if url else message


def _datasets(root: Path) -> Iterator[str]:
    """Names one could give instead: folders with an ``.inter`` of their name, and RecBole's ml-100k."""
    yield "ml-100k"
    if root.is_dir():
        yield from (each.name for each in root.iterdir() if any(each.glob(f"{each.name}*.inter")))


def _check_inter(config: Any, file: Path, name: str) -> None:
    if not file.is_file():
        others = sorted(each.name for each in file.parent.glob("*.inter"))
        there = f"there is {', '.join(others)}; files are named {name}.*"
        raise WrongUse(f"{file} is missing; {there if others else 'recbole-mm convert makes one'}")
    fields = _header(config, file)
    _check_keys(config, "inter", fields, file)
    _check_columns(config, "inter", fields, file)


def _is_read(config: Any, suffix: str, file: Path) -> bool:
    return file.is_file() and (config["load_col"] is None or suffix in config["load_col"])


def _header(config: Any, file: Path) -> dict[str, str]:
    return header_fields(file, config["field_separator"], config["encoding"])


def _check_keys(config: Any, suffix: str, fields: dict[str, str], file: Path) -> None:
    """The fields by which the rows of a file are known."""
    for key in _KEYS_OF.get(suffix, ()):
        if config[key] not in fields:
            raise WrongUse(
                f"{file}, line 1: no field '{config[key]}' ({key}); it has {', '.join(fields)}; set {key}"
            )


def _check_columns(config: Any, suffix: str, fields: dict[str, str], file: Path) -> None:
    """Fields a person asked for; those of RecBole's presets are loaded where they exist."""
    wanted = (config.external_config_dict.get("load_col") or {}).get(suffix)
    lost = [name for name in wanted if name not in fields] if isinstance(wanted, (list, tuple)) else []
    config.complain([f"load_col: {file} has no field '{name}'{suggest(name, fields)}" for name in lost])


def _needed(config: Any) -> Iterator[tuple[str, str]]:
    """Suffixes of the files a model cannot do without, and what is in them."""
    home = config.home.__name__
    vectors = home in ("GRU4RecKG", "KSR")
    if config["MODEL_TYPE"].name == "KNOWLEDGE" or vectors:
        yield "kg", "triples: head_id:token, relation_id:token, tail_id:token"
        yield "link", "item_id:token, entity_id:token"
    if vectors:
        yield "ent", "vectors of entities: ent_id:token, ent_emb:float_seq"
    if home == "KSR":
        yield "rel", "vectors of relations: rel_id:token, rel_emb:float_seq"
    if not vectors:  # of which these are the vectors
        yield from ((suffix, "additional_feat_suffix") for suffix in config["additional_feat_suffix"] or ())

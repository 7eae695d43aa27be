"""Refuse a data set that cannot work, in one line, before RecBole starts to load (or to download) it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recbole_mm.config.header import parse_header, text_encoding
from recbole_mm.config.properties import load_internal, recbole_dir
from recbole_mm.errors import WrongUse, suggest


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
    if not domains:
        _check_others(config, folder, name)


def _check_others(config: Any, folder: Path, name: str) -> None:
    for suffix, content in _needed(config):
        file = folder / f"{name}.{suffix}"
        if not file.is_file():
            raise WrongUse(f"model {config['model']} needs {file} ({content}); it is not there")
    for suffix in ("user", "item", "kg", "link", "ent", "rel"):
        file = folder / f"{name}.{suffix}"
        if file.is_file() and (config["load_col"] is None or suffix in config["load_col"]):
            _check_columns(config, suffix, _header(config, file), file)


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
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD"):
        if config[key] not in fields:
            raise WrongUse(
                f"{file}, line 1: no field '{config[key]}' ({key}); it has {', '.join(fields)}; set {key}"
            )
    _check_columns(config, "inter", fields, file)


def _header(config: Any, file: Path) -> dict[str, str]:
    try:
        with file.open(encoding=text_encoding(config["encoding"])) as stream:
            first, second = stream.readline(), stream.readline()
    except UnicodeDecodeError as error:
        raise WrongUse(f"{file} is not UTF-8 text; set encoding") from error
    if not first.strip():
        raise WrongUse(f"{file} is empty; line 1 should name its fields, as user_id:token<TAB>item_id:token")
    fields = parse_header(first, config["field_separator"])
    if fields is None:
        start = first.strip()
        shown = start[:60] + "…" * (len(start) > 60)
        raise WrongUse(
            f"{file}, line 1: no header: expected fields name:type between {config['field_separator']!r} "
            f"(types: token, token_seq, float, float_seq), got {shown!r}"
        )
    if not second.strip():
        raise WrongUse(f"{file} has a header and no rows")
    return fields


def _check_columns(config: Any, suffix: str, fields: dict[str, str], file: Path) -> None:
    """Fields a person asked for; those of RecBole's presets are loaded where they exist."""
    wanted = (config.external_config_dict.get("load_col") or {}).get(suffix)
    for name in wanted if isinstance(wanted, (list, tuple)) else ():
        if name not in fields:
            raise WrongUse(f"load_col: {file} has no field '{name}'{suggest(name, fields)}")


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

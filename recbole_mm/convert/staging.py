"""A data set's folder, made beside its place and put there when it is whole; its yaml says what the set is."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from recbole_mm.atomic import header_line
from recbole_mm.convert.summary import summarise
from recbole_mm.errors import WrongUse

SUMMARY = "summary.json"
REVIEWS_PARQUET = "reviews.parquet"
ROW_GROUP = 20_000
KEYS = {  # of the configuration, by the columns of .inter that they name
    "user_id:token": "USER_ID_FIELD",
    "item_id:token": "ITEM_ID_FIELD",
    "rating:float": "RATING_FIELD",
    "timestamp:float": "TIME_FIELD",
    "label:float": "LABEL_FIELD",
}


class Staging:
    """``folder`` is where to write; at the end of the block without error its files move to ``<out>/<name>``.

    The folders are siblings, so paths relative to one hold in the other. Files that the last conversion
    wrote (by its ``summary.json``) and this one did not are removed; other files stay, and so does a
    ``<name>.yaml`` that a person wrote or edited. ``publish=False``: throw away what was written. What a killed
    process left of writing this set is removed.
    """

    def __init__(self, out: str | Path, name: str, publish: bool = True) -> None:
        if not re.fullmatch(r"[^\s/\\:.][^\s/\\:]*", name):
            raise WrongUse(f"{name!r} is no name for a data set: no blanks, slashes, colons, leading dot")
        self.name = name
        self.publish = publish
        self.target = Path(out) / name
        self.folder = Path(out) / f".{name}.{os.getpid()}.partial"

    def __enter__(self) -> Staging:
        for left in self.target.parent.glob(f".{glob.escape(self.name)}.*.partial"):
            process = left.name.removeprefix(f".{self.name}.").removesuffix(".partial")
            if process.isdecimal() and not _is_running(int(process)):
                shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        try:
            if kind is None and self.publish:
                self._publish()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write ``<name>.yaml``, which ``Config`` reads without being told to."""
        flow: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "width": 2**31}
        lines = (yaml.safe_dump({key: value}, **flow)[1:-2] for key, value in settings.items())  # no braces
        body = "\n".join([*lines, ""])
        head = f"# What this data set is, by recbole-mm convert ({_digest(body)}). Edit it: an edited file stays.\n"
        (self.folder / f"{self.name}.yaml").write_text(head + body, encoding="utf-8")

    def write_summary(
        self, *figures: Any, settings: Mapping[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """Write the yaml (the fields of ``.inter`` and ``settings``) and ``summary.json``; call it last.

        Returns the summary: ``figures`` as `summarise` takes them behind the name, and ``more``.
        """
        summary = {**summarise(self.name, *figures), **more}
        columns = header_line(min(self.folder.glob("*.inter"))).split("\t")
        fields = {key: name.partition(":")[0] for name, key in KEYS.items() if name in columns}
        self.write_settings({**fields, **(settings or {})})
        files = sorted([*(path.name for path in self.folder.iterdir()), SUMMARY])
        text = json.dumps({**summary, "files": files}, indent=2, ensure_ascii=False)
        (self.folder / SUMMARY).write_text(text + "\n", encoding="utf-8")
        return summary

    def _publish(self) -> None:
        if not self.target.exists():
            os.rename(self.folder, self.target)
            return
        old = _files_of(self.target / SUMMARY)
        new = {path.name for path in self.folder.iterdir()}
        for name in sorted(new):
            if name == f"{self.name}.yaml" and _is_edited(self.target / name):
                print(f"{self.target / name}: edited, so it stays; delete it for a new one", file=sys.stderr)
            else:
                os.replace(self.folder / name, self.target / name)
        for name in sorted(old - new):
            (self.target / name).unlink(missing_ok=True)


class ParquetStream:
    """A parquet file of text columns (and int64 ``timestamp``), written in groups of 20,000 rows."""

    def __init__(self, path: str | Path, columns: Sequence[str], repeated: Sequence[str] = ()) -> None:
        """``repeated``: columns whose values recur (ids), kept as a dictionary in the file."""
        types = [pa.int64() if name == "timestamp" else pa.large_string() for name in columns]
        self.schema = pa.schema(list(zip(columns, types, strict=True)))
        self._waiting: list[pa.Table] = []
        self._writer = pq.ParquetWriter(
            path, self.schema, compression="zstd", compression_level=1, use_dictionary=list(repeated)
        )

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append a chunk: column name to a list or Arrow array, None for missing."""
        self._waiting.append(pa.table({name: columns[name] for name in self.schema.names}, self.schema))
        if sum(table.num_rows for table in self._waiting) >= ROW_GROUP:
            rows = pa.concat_tables(self._waiting)
            while rows.num_rows >= ROW_GROUP:  # groups do not depend on how the rows came
                self._writer.write_table(rows.slice(0, ROW_GROUP), row_group_size=ROW_GROUP)
                rows = rows.slice(ROW_GROUP)
            self._waiting = [rows]

    def __enter__(self) -> ParquetStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        try:
            if kind is None and any(table.num_rows for table in self._waiting):
                self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=ROW_GROUP)
        finally:
            self._writer.close()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another person
        pass
    return True


def _files_of(summary: Path) -> set[str]:
    try:
        files = json.loads(summary.read_text(encoding="utf-8")).get("files", [])
    except (OSError, ValueError, AttributeError):
        return set()
    return {name for name in files if isinstance(name, str) and name == Path(name).name}


def _is_edited(file: Path) -> bool:
    """Whether the file is there and its text is not the one whose digest its first line states."""
    if not file.is_file():
        return False
    head, _, body = file.read_bytes().decode("utf-8", "replace").partition("\n")
    return f"({_digest(body)})" not in head


def _digest(body: str) -> str:
    return hashlib.blake2b(body.encode(), digest_size=4).hexdigest()

"""The card of a run: its record as a page for a reviewer, in Markdown and HTML, from which it can be repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from recbole_mm.errors import WrongUse, count
from recbole_mm.files import write_text
from recbole_mm.report.template import asset, embedded, render
from recbole_mm.report.text import duration
from recbole_mm.run.folder import RECORD

MARKDOWN, HTML = "card.md", "card.html"
NONE = "not recorded"
Lines = list[tuple[str, str]]
_IN_MARKDOWN = re.compile(r"^```json\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
_IN_HTML = re.compile(r'<script type="application/json" id="record">(.*?)</script>', re.DOTALL)


def write_card(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``card.md`` and ``card.html`` into a run's folder."""
    write_text(folder / MARKDOWN, markdown_card(record))
    write_text(folder / HTML, html_card(record))


def read_record(place: str | Path) -> dict[str, Any]:
    """The record of a run's folder, or of a card or record alone.

    Raises:
        WrongUse: there is none, or it holds none.
    """
    path = Path(place).expanduser()
    file = path / RECORD if path.is_dir() else path
    if not file.is_file():
        raise WrongUse(
            f"{place}: no run there: it has no {RECORD}; give the folder of a finished run, or its card"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = ""
    form = {".md": _IN_MARKDOWN, ".html": _IN_HTML}.get(file.suffix)
    matches = form.findall(text) if form else [text]
    try:
        record = json.loads(matches[-1]) if matches else None
    except json.JSONDecodeError:
        record = None
    if not isinstance(record, dict) or not {"model", "dataset", "config"} <= record.keys():
        raise WrongUse(f"{file}: no card and no record of a run")
    return record


def markdown_card(record: Mapping[str, Any]) -> str:
    """The card with the whole record at its end."""
    parts = [f"# {_title(record)}"]
    for heading, lines in sections(record):
        table = [(f"**{name}**", value.replace("|", "\\|")) for name, value in lines]
        parts += [
            f"## {heading}",
            tabulate(table, headers=["", ""], tablefmt="github", disable_numparse=True),
        ]
    whole = json.dumps(record, indent=1, default=str)
    return "\n\n".join([*parts, "## Record", f"```json\n{whole}\n```"]) + "\n"


def html_card(record: Mapping[str, Any]) -> str:
    """The same as a page."""
    return render(
        "card.html.j2",
        title=_title(record),
        sections=sections(record),
        css=asset("page.css"),
        record=embedded(record),
    )


def _title(record: Mapping[str, Any]) -> str:
    return f"{record['model']} on {record['dataset']}, seed {record.get('seed')}"


def sections(record: Mapping[str, Any]) -> list[tuple[str, Lines]]:
    """What a reviewer asks, in order; what the record does not say is said to be missing."""
    return [
        ("Result", _result(record)),
        (
            "Question",
            [*_pairs(record.get("evaluation")), *_question(record.get("question"))] or [("asked", NONE)],
        ),
        ("Data", _data(record)),
        ("Features", _features(record)),
        ("Training", _training(record)),
        ("Settings", [(key, _text(value)) for key, value in sorted((record.get("config") or {}).items())]),
        ("Machine", _machine(record)),
        ("Repeat", [("command", "recbole-mm run --from FOLDER (this folder, or this file alone)")]),
    ]


def _result(record: Mapping[str, Any]) -> Lines:
    test, valid = (record.get(f"{part}_result") or {} for part in ("test", "best_valid"))
    lines = [(name, f"test {value}, validation {valid.get(name, '–')}") for name, value in test.items()]
    return lines or [("test", "not read")] + [(name, f"validation {value}") for name, value in valid.items()]


def _question(question: Mapping[str, Any] | None) -> Lines:
    if not question:
        return []
    return [(part, f"{n:,}, hash {question['hashes'][part]}") for part, n in question["counts"].items()]


def _data(record: Mapping[str, Any]) -> Lines:
    data, ties = record.get("data") or {}, record.get("ties")
    lines = [(name, f"{data[name]:,}") for name in ("users", "items", "interactions") if name in data]
    lines += [(name, f"sha256 {digest}") for name, digest in (data.get("files") or {}).items()]
    return [
        *lines,
        ("ties in time", _text(ties) if ties else "none that decide the split, or the split asks no time"),
    ]


def _features(record: Mapping[str, Any]) -> Lines:
    features = (record.get("data") or {}).get("features")
    if not features:
        return [("features", "none: the model reads ids only")]
    return [
        (
            name,
            f"{f['coverage']:.1%} of the items, encoder {f.get('encoder', NONE)}, hash {f.get('hash', NONE)}",
        )
        for name, f in features.items()
    ]


def _training(record: Mapping[str, Any]) -> Lines:
    config = record.get("config") or {}
    epochs = record.get("epochs_run")
    return [
        (
            "budget",
            f"{config.get('epochs', 'default')} epochs, patience {config.get('stopping_step', 'default')}",
        ),
        ("trained", f"{count(epochs, 'epoch')}, ended by {record.get('stopped_by')}"),
        (
            "chosen by",
            f"validation {config.get('valid_metric', 'default')}: {record.get('best_valid_score')}",
        ),
        (
            "search",
            _text(record["search"])
            if record.get("search")
            else "one setting; what was tried before is not here",
        ),
        ("seeds", f"seed {record.get('seed')}, split_seed {record.get('split_seed')}"),
        ("parameters", f"{record.get('parameters') or 0:,}"),
        *(("remark", text) for text in record.get("remarks") or []),
    ]


def _machine(record: Mapping[str, Any]) -> Lines:
    usage, machine = record.get("usage") or {}, record.get("machine") or {}
    energy = usage.get("energy_joules", NONE)
    return [
        ("time", duration(record.get("seconds") or 0)),
        ("peak memory", f"{usage['peak_memory_mib']:,} MiB" if "peak_memory_mib" in usage else NONE),
        *(
            [("peak GPU memory", f"{usage['peak_gpu_memory_mib']:,} MiB")]
            if "peak_gpu_memory_mib" in usage
            else []
        ),
        ("energy", energy if isinstance(energy, str) else f"{energy:,} J, processor packages"),
        ("threads", str(record.get("threads"))),
        ("workers", str(record.get("workers", NONE))),
        *((name.replace("_", " "), _text(value)) for name, value in machine.items() if value is not None),
        ("versions", _text(record.get("versions"))),
        ("key", str(record.get("key"))),
    ]


def _pairs(values: Mapping[str, Any] | None) -> Lines:
    return [(name, _text(value)) for name, value in (values or {}).items()]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, (list, tuple)) else str(value)

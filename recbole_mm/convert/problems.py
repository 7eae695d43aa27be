"""What is wrong with a source: counted, with the first place each was seen; an error under ``--strict``."""

from __future__ import annotations

from recbole_mm.errors import WrongUse

KINDS = {
    "truncated": "compressed file ends early or is damaged; what could be read was kept",
    "broken_line": "line that is no JSON object; dropped",
    "encoding": "text that is not UTF-8; read as Windows-1252",
    "missing_user": "no user; dropped",
    "missing_item": "no item; dropped",
    "missing_rating": "no rating; dropped",
    "missing_timestamp": "no time; dropped",
    "duplicate_pair": "user and item met before; one kept",
    "duplicate_item": "second description of an item; dropped",
    "page_code": "page code in place of a title; title dropped",
    "negative_time": "time before 1970; kept",
    "zero_rating": "rating of 0, in some sources for none; kept",
    "missing_image": "image file that is not there; the item counts as without",
    "quoted_rows": "quoted cell with the separators of whole rows, perhaps between stray quotes; kept as one cell",
    "not_carried": "file of the source that is neither filtered nor copied",
    "unreadable_row": "row with another number of fields; dropped",
    "unlinked": "link to an id that does not occur; ignored",
    "empty_vector": "feature row of zeros or NaN; the item counts as without",
}


class Problems:
    """Counts by kind; ``counts`` and ``first`` ("file:line") are plain dicts."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, str] = {}

    def add(self, kind: str, where: str, count: int = 1) -> None:
        """Count ``kind`` (a key of `KINDS`); ``where`` is kept the first time."""
        if kind not in KINDS:
            raise KeyError(kind)
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + count
            self.first.setdefault(kind, where)

    def raise_if(self, strict: bool) -> None:
        """Raise WrongUse that names every kind if ``strict`` and anything was counted."""
        if strict and self.counts:
            found = (
                f"{each['count']:,} x {kind} ({KINDS[kind]}; first at {each['first']})"
                for kind, each in self.as_dict().items()
            )
            raise WrongUse("--strict: " + "; ".join(found))

    def as_dict(self) -> dict[str, dict[str, int | str]]:
        """For JSON."""
        return {kind: {"count": self.counts[kind], "first": self.first[kind]} for kind in sorted(self.counts)}

"""Vectors of any store in the embeddings of any model, without touching its code (docs/plug.md)."""

from recbole_mm.plug.apply import plug
from recbole_mm.plug.finetune import finetune
from recbole_mm.plug.stores import KINDS, named_stores
from recbole_mm.plug.target import tables_of

__all__ = ["KINDS", "finetune", "named_stores", "plug", "tables_of"]

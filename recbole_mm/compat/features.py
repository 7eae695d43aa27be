"""RecBole's own slips in what models make of side features: shapes that do not fit, fields in the wrong place."""

from __future__ import annotations

from recbole_mm.compat.patch import Patch, source_patches

_FLOATS = "two float features of items are joined along their values, not side by side: a split error"
_LISTS = "a list of floats is pooled to one vector and counted as many: the next layer has the wrong width"
_UNREAD = "float features that numerical_features does not name are counted and not read: a wrong width"
_WEIGHTS = "FwFM knows no lists of floats (KeyError), and with `fields` it takes features in another order than theirs"

_floats = source_patches("recbole", _FLOATS, "ContextSeqEmbAbstractLayer joins float fields along dim -2")
_lists = source_patches("recbole", _LISTS, "SASRecF counts one feature a field")
_unread = source_patches(
    "recbole", _UNREAD, "ContextRecommender counts the float fields of a tower that it embeds"
)
_weights = source_patches(
    "recbole", _WEIGHTS, "FwFM numbers features in the order of concat_embed_input_fields"
)
_ABSTRACT = "recbole.model.abstract_recommender"
_ORDER = ("token_field", "token_seq_field", "float_field")

PATCHES: list[Patch] = [
    _floats("recbole-float-features", "recbole.model.layers", "1144",
            "float_fields, dim=-1\n", "float_fields, dim=-2\n"),
    _lists("recbole-float-lists", "recbole.model.sequential_recommender.sasrecf", "47",
           "else dataset.num(field)", "else 1"),
    _unread("recbole-user-tower", _ABSTRACT, "269", "else:\n                    self.user_float",
            "elif field_name in config['numerical_features']:\n                    self.user_float"),
    _unread("recbole-item-tower", _ABSTRACT, "279", "else:\n                    self.item_float",
            "elif field_name in config['numerical_features']:\n                    self.item_float"),
    _weights("recbole-fwfm-features", "recbole.model.context_aware_recommender.fwfm", "49, 50, 51",
             "".join(f"            self.{name}_names,\n" for name in _ORDER),
             "            self.token_seq_field_names,\n            self.token_field_names,\n"
             "            self.float_seq_field_names, self.float_field_names,\n"),
]  # fmt: skip

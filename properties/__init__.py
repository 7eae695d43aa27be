"""Defaults of recbole_mm: one yaml per model, data set, search space and encoder (data only, no code)."""

"""Guarded patches that let RecBole 1.2.1 run on current libraries."""


def install_hook() -> None:
    """Install the import hook."""

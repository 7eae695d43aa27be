"""Raw data to RecBole's atomic files and ``items.parquet``.

A converter is a module of this room with ``HELP``, ``add_arguments(parser)`` and ``main(args)``; its
name here makes it ``recbole-mm convert <name>`` (``_`` as ``-``).
"""

CONVERTERS = ("table", "amazon", "movielens", "mmrec", "recbole_cdr", "atomic_set")

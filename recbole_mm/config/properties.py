"""Where the yamls lie, and how they are read: plain values only, with one-line errors for a person's own."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from recbole_mm.errors import WrongUse
from recbole_mm.files import at_home

# PyYAML reads 1e-3 as text, and the configs of RecBole's users are full of it
FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


# the parser in C is ten times as fast, and a Config reads a dozen files
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ConfigLoader(_SafeLoader):
    """Safe yaml with floats such as ``1e-3``. RecBole changes ``yaml.FullLoader`` for all instead."""


class StrictLoader(yaml.SafeLoader):
    """For a person's own files: the same key twice is an error, where yaml silently takes the last.

    In Python, whose messages name the character that is wrong.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; raises ``ConstructorError`` on a repeated key."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    twice = f"key '{key.value}' is there twice"
                    raise yaml.constructor.ConstructorError(None, None, twice, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


for _loader in (ConfigLoader, StrictLoader):
    _loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


@cache
def recbole_dir() -> Path:
    """The folder of the installed RecBole."""
    import recbole

    return Path(recbole.__path__[0])


def load_internal(path: Path) -> dict[str, Any]:
    """Read one of the packages' own yamls; an absent or empty file is no setting. The result is shared: copy it."""
    try:
        return _load(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}


@cache
def _load(path: Path, version: int) -> dict[str, Any]:
    with path.open(encoding="utf-8") as stream:
        return yaml.load(stream, Loader=ConfigLoader) or {}


def file_list(text: str) -> list[str]:
    """The files of ``--config_files``: separated by spaces, unless all of it is the name of one."""
    return [text] if Path(text).expanduser().is_file() else text.split()


def load_user(path: str | Path) -> dict[str, Any]:
    """Read a person's config file; ``~/`` in a value is the folder. Raises ``WrongUse`` with file, line and remedy."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise WrongUse(f"config file '{path}' does not exist") from error
    except IsADirectoryError as error:
        raise WrongUse(f"config file '{path}' is a folder; name a yaml file") from error
    except PermissionError as error:
        raise WrongUse(f"config file '{path}' may not be read (permission denied)") from error
    except UnicodeDecodeError as error:
        raise WrongUse(f"config file '{path}' is not UTF-8 text (byte {error.start})") from error
    try:
        values = yaml.load(text, Loader=StrictLoader)
    except yaml.MarkedYAMLError as error:
        at = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise WrongUse(f"{path}{at}: {_reason(error)}") from error
    except yaml.YAMLError as error:
        raise WrongUse(f"{path}: {' '.join(str(error).split())}") from error
    except (ValueError, RecursionError) as error:  # a date that is none, a nesting without end
        raise WrongUse(f"{path}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise WrongUse(f"{path}: expected lines of 'key: value', got a {type(values).__name__}")
    odd = [key for key in values if not isinstance(key, str)]
    if odd:
        raise WrongUse(f"{path}: key {odd[0]!r} is not text; put it in quotes or write 'key: value'")
    return at_home(values)  # type: ignore[no-any-return]


def _reason(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "not valid yaml"
    if "'\\t'" in problem:
        return "a tab; yaml wants spaces"
    return " ".join(problem.split())

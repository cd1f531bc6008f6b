"""JSON files that somebody else may have written: bounded, and no key that is not expected."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path

from minillm.errors import LoadError, shown

MAX_BYTES = 1 << 20


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> object:
    """What the file holds; raises `LoadError` where it is missing, too large or no JSON."""
    if not path.is_file():  # a pipe would wait for a writer
        raise LoadError(f"{path}: no such file")
    try:
        if path.stat().st_size > max_bytes:
            raise LoadError(f"{path}: larger than {max_bytes} bytes")
        content: object = json.loads(path.read_bytes())
        return content
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from error
    except RecursionError as error:
        raise LoadError(f"{path}: nested too deep") from error
    except ValueError as error:
        raise LoadError(f"{path}: not JSON: {error}") from error


def checkpoint_file(folder: Path, name: str) -> Path:
    """The path of a file that every converted checkpoint has; raises `LoadError`, which says how to
    make one, where it is missing."""
    path = folder / name
    if not path.is_file():
        missing = "not a folder" if folder.exists() else "no such folder"
        found = f"no {name} in it" if folder.is_dir() else missing
        hint = "`minillm convert SOURCE DIR` makes a checkpoint of a model"
        raise LoadError(f"{folder}: {found}; {hint}")
    return path


def fields(
    content: object, required: Set[str], what: str, optional: Set[str] = frozenset()
) -> dict[str, object]:
    """`content` as an object with the keys `required` and perhaps `optional`, else `ValueError`."""
    if not isinstance(content, dict):
        raise ValueError(f"{what} is {shown(content)}, expected an object")
    if missing := required - content.keys():
        raise ValueError(f"{what} lacks {sorted(missing)[0]!r}")
    if unknown := content.keys() - required - optional:
        raise ValueError(f"{what} has the unknown key {shown(sorted(unknown)[0])}")
    return content

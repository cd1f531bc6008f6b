"""Reading foreign configurations: fields by name and type.

A field may have several names, the oldest last; one that is null counts as missing. Errors are
`KeyError` for a field that is missing and `ValueError` for one that is not supported.
"""

from __future__ import annotations

from collections.abc import Mapping

Fields = Mapping[str, object]


def value(fields: Fields, *names: str, default: object = None) -> object:
    """The first of `names` that is there; `default`, or `KeyError` where there is none."""
    for name in names:
        if (found := fields.get(name)) is not None:
            return found
    if default is None:
        raise KeyError(names[0])
    return default


def integer(fields: Fields, *names: str, default: int | None = None) -> int:
    """A whole number, whether it is written 8 or 8.0."""
    found = value(fields, *names, default=default)
    if isinstance(found, float) and found.is_integer():
        return int(found)
    if isinstance(found, bool) or not isinstance(found, int):
        raise ValueError(f"{names[0]} is {found!r}, expected a whole number")
    return found


def real(fields: Fields, *names: str, default: float | None = None) -> float:
    found = value(fields, *names, default=default)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"{names[0]} is {found!r}, expected a number")
    return float(found)


def optional_real(fields: Fields, name: str) -> float | None:
    return None if fields.get(name) is None else real(fields, name)


def flag(fields: Fields, name: str, default: bool) -> bool:
    found = value(fields, name, default=default)
    if not isinstance(found, bool):
        raise ValueError(f"{name} is {found!r}, expected true or false")
    return found


def text(fields: Fields, *names: str, default: str) -> str:
    found = value(fields, *names, default=default)
    if not isinstance(found, str):
        raise ValueError(f"{names[0]} is {found!r}, expected a text")
    return found


def section(fields: Fields, *names: str) -> Fields:
    """An object inside the configuration, empty where it is missing."""
    found = value(fields, *names, default={})
    if not isinstance(found, Mapping):
        raise ValueError(f"{names[0]} is {found!r}, expected an object")
    return found


def expect(fields: Fields, **wanted: object) -> None:
    """Refuse a configuration in which one of these fields is there and is something else."""
    for name, only in wanted.items():
        if (found := fields.get(name)) is not None and found != only:
            raise ValueError(f"{name} is {found!r}, supported is {only!r} only")

"""Diagnostics as SARIF 2.1.0 (OASIS), which code hosts and editors show beside the lines."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pml.diagnostics import Diagnostic
from pml.errors import Location
from pml.rule_table import RULES

_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def sarif(diagnostics: Sequence[Diagnostic]) -> dict[str, Any]:
    """A log of one run; columns count characters, ends are exclusive, as here."""
    codes = sorted({found.code for found in diagnostics})
    rules = [{"id": code, "shortDescription": {"text": RULES[code]}} for code in codes]
    driver = {"name": "pml", "version": version("modular-prompt-cache"), "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(found, codes.index(found.code)) for found in diagnostics],
            }
        ],
    }


def _result(found: Diagnostic, rule: int) -> dict[str, Any]:
    related = [
        {**_location(place.at, None), "message": {"text": place.message}} for place in found.related
    ]
    return {
        "ruleId": found.code,
        "ruleIndex": rule,
        "level": _LEVELS[found.severity],
        "message": {"text": found.message},
        **({"locations": [_location(found.at, found.end)]} if found.at else {}),
        **({"relatedLocations": related} if related else {}),
    }


def _location(at: Location, end: Location | None) -> dict[str, Any]:
    region = {"startLine": at.line, "startColumn": at.column}
    if end is not None:
        region |= {"endLine": end.line, "endColumn": end.column}
    path = Path(at.file)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}

"""Reading the attributes of a tag, each wrong one with its own place."""

from collections.abc import Iterable
from dataclasses import dataclass

from pml.errors import (
    PMLSyntaxError,
    Report,
    closest,
    did_you_mean,
    listed,
    quoted,
)
from pml.markup import Element
from pml.nodes import VERSIONS

LONGEST_PARAMETER = 1_000_000


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of `element`. What is wrong with one is reported; then a value is given that
    will do: what stands there, or the default."""

    element: Element
    report: Report

    def only(self, *known: str) -> None:
        """Report every attribute that the tag does not have."""
        for name in self.element.attributes:
            if name not in known:
                expected = f"expected {listed(known)}" if known else "it takes none"
                message = f"<{self.element.tag}> has no attribute {quoted(name)}; {expected}"
                self.wrong(name, message, "unknown-attribute", closest(name, known))

    def wrong(
        self, name: str, message: str, code: str = "wrong-value", suggestion: str | None = None
    ) -> None:
        """Report the attribute `name`."""
        message += did_you_mean(suggestion)
        at = self.element.attribute_at(name)
        self.report(PMLSyntaxError(message, at, code=code, suggestion=suggestion))

    def required(self, name: str, example: str) -> str:
        """The value of an attribute that must be there and not be empty."""
        value = self.optional(name, example)
        if value is None:
            self._missing(name, f'write <{self.element.tag} {name}="{example}">')
        return value or ""

    def optional(self, name: str, example: str) -> str | None:
        """The value of an attribute that may be missing but not empty."""
        value = self.element.attributes.get(name)
        if value is not None and not value.strip():
            self.wrong(name, f'{name}={quoted(value)} is empty; write {name}="{example}"')
        elif value is not None and value.strip() != value:
            self.wrong(name, f"{name}={quoted(value)} has white space at its ends; remove it")
        return value

    def choice(self, name: str, values: Iterable[str], default: str | None = None) -> str | None:
        """One of some words, or the default if the attribute is missing."""
        value = self.element.attributes.get(name)
        if value is not None and value not in (known := tuple(values)):
            message = f"{name}={quoted(value)}; expected {listed(known)}"
            self.wrong(name, message, suggestion=closest(value, known))
            return default
        return default if value is None else value

    def flag(self, name: str, default: bool) -> bool:
        return self.choice(name, ("true", "false"), str(default).lower()) == "true"

    def version(self) -> None:
        """Report a version of the language that is not read here."""
        value = self.element.attributes.get("version")
        if value is not None and value not in VERSIONS:
            known = f"this build reads {listed(VERSIONS)}"
            self.wrong("version", f"version={quoted(value)}; {known}")

    def length(self) -> int:
        """The tokens of a parameter, from `len` or `length`."""
        given = [name for name in ("len", "length") if name in self.element.attributes]
        tag = self.element.tag
        if not given:
            self._missing("len", f'write <{tag} len="8"> for a slot of 8 tokens')
            return 1
        if len(given) == 2:
            self.wrong(given[1], f"<{tag}> has both len and length; they mean the same, keep one")
        name, value = given[0], self.element.attributes[given[0]]
        if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value) > 0):
            self.wrong(name, f"{name}={quoted(value)}; expected a number of tokens, 1 or more")
        elif int(value) > LONGEST_PARAMETER:
            most = f"expected at most {LONGEST_PARAMETER:,} tokens"
            self.wrong(name, f"{name}={quoted(value)}; {most}")
        else:
            return int(value)
        return 1

    def _missing(self, name: str, advice: str) -> None:
        tag, at = self.element.tag, self.element.at
        message = f"<{tag}> has no {name}; {advice}"
        self.report(PMLSyntaxError(message, at, code="missing-attribute"))

"""Reading the attributes of a tag, each wrong one with its own place."""

from collections.abc import Iterable

from pml.errors import PMLSyntaxError, did_you_mean, listed, quoted
from pml.markup import Element

LONGEST_PARAMETER = 1_000_000


def check_attributes(element: Element, known: tuple[str, ...]) -> None:
    """Refuse an attribute that the tag does not have."""
    for name in element.attributes:
        if name not in known:
            expected = f"expected {listed(known)}" if known else "it takes none"
            message = f"<{element.tag}> has no attribute {quoted(name)}; {expected}"
            raise wrong(element, name, message + did_you_mean(name, known))


def wrong(element: Element, attribute: str, message: str) -> PMLSyntaxError:
    return PMLSyntaxError(message, element.attribute_at(attribute))


def required(element: Element, name: str, example: str) -> str:
    """The value of an attribute that must be there and not be empty."""
    value = element.attributes.get(name)
    if value is None:
        message = f'<{element.tag}> has no {name}; write <{element.tag} {name}="{example}">'
        raise PMLSyntaxError(message, element.at)
    return _checked(element, name, value, example)


def optional(element: Element, name: str, example: str) -> str | None:
    """The value of an attribute that may be missing but not empty."""
    value = element.attributes.get(name)
    return None if value is None else _checked(element, name, value, example)


def choice(
    element: Element, name: str, values: Iterable[str], default: str | None = None
) -> str | None:
    """One of some words, or the default if the attribute is missing."""
    value = element.attributes.get(name, default)
    if name in element.attributes and value not in (known := tuple(values)):
        message = f"{name}={quoted(str(value))}; expected {listed(known)}"
        raise wrong(element, name, message + did_you_mean(str(value), known))
    return value


def flag(element: Element, name: str, default: bool) -> bool:
    return choice(element, name, ("true", "false"), str(default).lower()) == "true"


def length(element: Element) -> int:
    """The tokens of a parameter, from `len` or `length`."""
    names = [name for name in ("len", "length") if name in element.attributes]
    if not names:
        message = (
            f'<{element.tag}> has no len; write <{element.tag} len="8"> for a slot of 8 tokens'
        )
        raise PMLSyntaxError(message, element.at)
    if len(names) == 2:
        message = f"<{element.tag}> has both len and length; they mean the same, keep one"
        raise wrong(element, names[1], message)
    value = element.attributes[names[0]]
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value) > 0):
        message = f"{names[0]}={quoted(value)}; expected a number of tokens, 1 or more"
        raise wrong(element, names[0], message)
    if int(value) > LONGEST_PARAMETER:
        message = f"{names[0]}={quoted(value)}; expected at most {LONGEST_PARAMETER:,} tokens"
        raise wrong(element, names[0], message)
    return int(value)


def _checked(element: Element, name: str, value: str, example: str) -> str:
    bare = value.strip()
    if not bare:
        raise wrong(element, name, f'{name}={quoted(value)} is empty; write {name}="{example}"')
    if bare != value:
        message = f"{name}={quoted(value)} has white space at its ends; remove it"
        raise wrong(element, name, message)
    return value

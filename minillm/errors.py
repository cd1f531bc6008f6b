"""The errors that a reader of foreign or damaged files raises."""

from __future__ import annotations


class LoadError(Exception):
    """A file cannot be loaded or converted; the message is one line that says which and why."""

    def __init__(self, message: str) -> None:
        # A file may quote its own control characters into a message: the promise is one line.
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


class IntegrityError(LoadError):
    """A converted checkpoint is not what was converted: it was damaged, or changed, since."""


def shown(value: object, limit: int = 60) -> str:
    """`value` as a short quotation for a message, however long or odd it is.

    >>> shown("blk.0.attn_q.weight")
    "'blk.0.attn_q.weight'"
    """
    text = repr(value[: limit + 1] if isinstance(value, str) else value)
    return text if len(text) <= limit + 2 else text[: limit - 1] + "…"

"""What the language says when something is wrong: one line with a place, a finding and an advice.

Every error of the PML front end is a `PMLError`. Its text is one line,

    p.pml:12:9: module 'plan' holds no module 'gao'; expected 'goa' or 'mali'; did you mean 'goa'?

that is file, line and column (both from 1, columns in characters), then what was found, what was
expected, and where it helps what to do. Nothing is repaired silently.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a document: line and column count from 1, columns in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


IN_CODE = Location("<code>", 1, 1)
"""The place of what was built by a program and never stood in a document."""


class PMLError(ValueError):
    """One thing that is wrong with a document, at one place (`at` is None if it has none)."""

    def __init__(self, message: str, at: Location | None = None) -> None:
        super().__init__(message, at)
        self.message = message
        self.at = at

    def __str__(self) -> str:
        return self.message if self.at is None else f"{self.at}: {self.message}"


class PMLSyntaxError(PMLError):
    """The document is wrong by itself: malformed XML, an unknown tag, a limit, a doubled name."""


class PMLPromptError(PMLError):
    """The prompt is well formed but does not fit its schema."""


def quoted(text: str, longest: int = 60) -> str:
    """The text in quotes, on one line whatever it holds, its middle left out when it is long."""
    return repr(_cut(text, longest))


def tagged(name: str) -> str:
    """The tag of this name, its middle left out when it is long."""
    return f"<{_cut(name, 60)}>"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 20]}…{text[-19:]}"


def listed(names: Iterable[str], conjunction: str = "or", most: int = 6) -> str:
    """`'a', 'b' or 'c'`; of a long list the first few and how many more there are."""
    words = [quoted(name) for name in names]
    if len(words) > most:
        words[most - 1 :] = [f"{len(words) - most + 1} more"]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"


def did_you_mean(word: str, known: Iterable[str], show: Callable[[str], str] = quoted) -> str:
    """`; did you mean 'maldives'?`, or nothing if no known name is close.

    Long words and long lists are cut first: the comparison is quadratic in the words' length.
    """
    longest = 80
    if len(word) > longest:
        return ""
    candidates = [name for name in known if abs(len(name) - len(word)) <= 8][:2000]
    folded = {name.casefold(): name for name in reversed(candidates)}
    close = get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return f"; did you mean {show(folded[close[0]])}?" if close else ""

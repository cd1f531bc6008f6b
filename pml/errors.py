"""What the language says when something is wrong: one line with a place, a finding and an advice.

Every error of the PML front end is a `PMLError`. Its text is one line,

    p.pml:12:9: module 'plan' holds no module 'gao'; expected 'goa' or 'mali'; did you mean 'goa'?

that is file, line and column (both from 1, columns in characters), then what was found, what was
expected, and where it helps what to do. Nothing is repaired silently.

A reader gives what it finds to a `Report`: `raised` ends at the first error, an `ErrorList` keeps
them all. After a report the reader goes on with a value that will do.
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


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that an error has to do with, and what stands there."""

    at: Location
    message: str


class PMLError(ValueError):
    """One thing that is wrong with a document, at one place (`at` is None if it has none).

    `code` names the rule that is broken (`pml.rule_table`), `suggestion` is the word that was
    likely meant.
    """

    def __init__(
        self,
        message: str,
        at: Location | None = None,
        *,
        code: str,
        suggestion: str | None = None,
        related: Iterable[Related] = (),
    ) -> None:
        super().__init__(message, at)
        self.message = message
        self.at = at
        self.code = code
        self.suggestion = suggestion
        self.related = tuple(related)

    def __str__(self) -> str:
        return self.message if self.at is None else f"{self.at}: {self.message}"


class PMLSyntaxError(PMLError):
    """The document is wrong by itself: malformed XML, an unknown tag, a limit, a doubled name."""


class PMLPromptError(PMLError):
    """The prompt is well formed but does not fit its schema."""


Report = Callable[[PMLError], None]


def raised(error: PMLError) -> None:
    """The report of those who want the first error only."""
    raise error


class ErrorList:
    """The report of those who want them all: each error once, at most so many."""

    def __init__(self, most: int = 100) -> None:
        self.most = most
        self.errors: list[PMLError] = []
        self.known: set[tuple[Location | None, str]] = set()

    def __call__(self, error: PMLError) -> None:
        """Keep `error`; raise `EnoughErrors` when that makes `most`."""
        if (error.at, error.message) not in self.known:
            self.known.add((error.at, error.message))
            self.errors.append(error)
        if len(self.errors) == self.most:
            raise EnoughErrors


class EnoughErrors(Exception):
    """Nobody reads on after so many errors."""


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


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` is likely meant to be.

    Long words and long lists are cut first: the comparison is quadratic in the words' length.

    >>> closest("Maldive", ["mali", "maldives"])
    'maldives'
    """
    longest = 80
    if len(word) > longest:
        return None
    candidates = [name for name in known if abs(len(name) - len(word)) <= 8][:2000]
    folded = {name.casefold(): name for name in reversed(candidates)}
    close = get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def did_you_mean(name: str | None, show: Callable[[str], str] = quoted) -> str:
    """`; did you mean 'maldives'?`, or nothing without a name."""
    return f"; did you mean {show(name)}?" if name is not None else ""

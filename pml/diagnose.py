"""What expat stumbled over, told as a person would want it."""

from pml.errors import Location, PMLSyntaxError
from pml.source import Source


def diagnosed(
    source: Source, code: int, offset: int, opened: list[tuple[str, Location]]
) -> PMLSyntaxError:
    return PMLSyntaxError("not well-formed", source.at(max(offset, 0)))

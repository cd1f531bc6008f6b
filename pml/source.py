"""A document as bytes with a name: strict UTF-8, a size limit, and places by byte offset."""

import re
from dataclasses import dataclass, field

from pml.errors import Location, PMLSyntaxError

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r"))
_FORBIDDEN = re.compile(rb"[%b]|\xef\xbf[\xbe\xbf]" % re.escape(_CONTROLS))
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of a document: UTF-8 of characters that XML allows, without byte order mark.

    `first_line` is the number of its first line: 0 where that line was put before a user's text.
    """

    data: bytes = field(repr=False)
    file: str
    first_line: int = 1

    def at(self, offset: int) -> Location:
        """The place of the byte at `offset`."""
        return advanced(Location(self.file, self.first_line, 1), self.data[:offset])


def read_source(text: str | bytes, file: str, most_bytes: int, first_line: int = 1) -> Source:
    """Check size, encoding and characters before anything looks at the content.

    Raises PMLSyntaxError, at the first byte that is not UTF-8 or character that XML has not, and
    TypeError for what is no text at all.
    """
    check_text(text, str, bytes)
    start = Location(file, first_line, 1)
    if len(text) > most_bytes:
        raise _too_large(start, most_bytes)
    if isinstance(text, str):
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            at = advanced(start, text[: error.start].encode())
            code = f"U+{ord(text[error.start]):04X}"
            message = f"{code} is half a character and cannot stand alone"
            raise PMLSyntaxError(message, at, code="encoding") from None
        if len(data) > most_bytes:
            raise _too_large(start, most_bytes)
    else:
        data = text
    source = Source(data.removeprefix(_BYTE_ORDER_MARK), file, first_line)
    try:
        source.data.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{source.data[error.start]:02x} is not UTF-8"
        advice = "expected a document in UTF-8; save it in that encoding"
        at = source.at(error.start)
        raise PMLSyntaxError(f"{found}; {advice}", at, code="encoding") from None
    _refuse_forbidden(source)
    return source


def check_text(text: object, *kinds: type) -> None:
    """Raises TypeError for what is none of the kinds of text."""
    if not isinstance(text, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"found a {type(text).__name__}, expected PML text as {expected}")


def _refuse_forbidden(source: Source) -> None:
    """Refuse what UTF-8 has and XML has not. Expat would take a NUL for a sign of UTF-16."""
    data = source.data
    controls = len(data) - len(data.translate(None, _CONTROLS))
    suspicious = controls or b"\xef\xbf\xbe" in data or b"\xef\xbf\xbf" in data
    if suspicious and (found := _FORBIDDEN.search(data)):
        code = f"U+{ord(found[0].decode()):04X}"
        message = f"character {code}, which XML does not allow; remove it"
        raise PMLSyntaxError(message, source.at(found.start()), code="encoding")


def advanced(start: Location, passed: bytes) -> Location:
    """The place after `passed`, which begins at `start`; lines end in LF, CR LF or CR as in XML."""
    if b"\r" in passed:
        passed = passed.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    newlines = passed.count(b"\n")
    if not newlines:
        return Location(start.file, start.line, start.column + len(passed.decode()))
    rest = passed[passed.rindex(b"\n") + 1 :]
    return Location(start.file, start.line + newlines, len(rest.decode()) + 1)


def _too_large(start: Location, most_bytes: int) -> PMLSyntaxError:
    message = f"the document is larger than the limit of {most_bytes:,} bytes"
    return PMLSyntaxError(message, start, code="limit")

"""What expat stumbled over, told as a person would want it.

Expat reports where its automaton stopped, which for a `<` in a line of code is a character or a
whole tag later. Here the document is read again around that place. Messages and places depend on
the document's bytes and expat's error code, not on expat's version.
"""

import re
from collections.abc import Iterator
from xml.parsers.expat import errors

from pml.errors import Location, PMLSyntaxError, quoted, tagged
from pml.source import Source

_NAME = re.compile(rb"[A-Za-z_:\x80-\xff][A-Za-z0-9_:.\x80-\xff-]*")
_OPENING_TAG = re.compile(rb"<(?:[^<\"'>]++|\"[^<\"]*+\"|'[^<']*+')*+>")
_REFERENCE = re.compile(rb"&(#?)([^;<&]*);")
_PARTIAL_REFERENCE = re.compile(rb"[#A-Za-z0-9_:.\x80-\xff-]*")
_KNOWN = (b"amp", b"lt", b"gt", b"quot", b"apos")
_IF_TEXT = "or &lt; if this '<' is text"
_CDATA = "or put the text into a CDATA section: <![CDATA[…]]>"

Opened = list[tuple[str, Location]]
Finding = tuple[str, int]
"""What is wrong, and at which byte."""


def malformed(source: Source, code: int, offset: int, opened: Opened) -> PMLSyntaxError:
    """The error for expat's `code` at byte `offset`; `opened` are the tags not yet closed."""
    finding = _findings.get(code, _not_well_formed)
    message, at = finding(source.data, max(offset, 0), opened)
    return PMLSyntaxError(message, source.at(at), code="malformed-xml")


def _not_well_formed(data: bytes, offset: int, opened: Opened) -> Finding:
    return "this is no well-formed XML", offset


def _unfinished(data: bytes, offset: int, opened: Opened) -> Finding:
    if not opened:
        return "the document is empty; expected one element", offset
    tag, at = opened[-1]
    place = f"line {at.line}, column {at.column}"
    return f"the document ends inside {tagged(tag)} of {place}; close it", offset


def _outside(data: bytes, offset: int, opened: Opened) -> Finding:
    if b"<" not in data[: offset + 1]:
        return "the document begins with text; expected its root tag", offset
    return "content outside the document's one element; expected nothing there", offset


def _mismatch(data: bytes, offset: int, opened: Opened) -> Finding:
    tag, at = opened[-1]
    name = _NAME.match(data, offset)
    found = tagged("/" + name[0].decode()) if name else "a closing tag"
    expected = f"expected {tagged('/' + tag)} for line {at.line}, column {at.column}"
    return f"found {found}; {expected}; if the '<' there is text, write &lt;", offset - 2


def _doubled(data: bytes, offset: int, opened: Opened) -> Finding:
    name = _NAME.match(data, offset)
    return f"attribute {_shown(name)} given twice in one tag; keep one", offset


def _unknown_entity(data: bytes, offset: int, opened: Opened) -> Finding:
    unknown = (r for r in _REFERENCE.finditer(data, offset) if not r[1] and r[2] not in _KNOWN)
    shown, at = _first(unknown, offset)
    expected = "expected &amp; &lt; &gt; &quot; &apos; or a character's number as in &#233;"
    return f"unknown entity {shown}; {expected}", at


def _bad_number(data: bytes, offset: int, opened: Opened) -> Finding:
    numbers = (r for r in _REFERENCE.finditer(data, offset) if r[1])
    shown, at = _first((r for r in numbers if not _names_character(r[2])), offset)
    return f"{shown} names no character that XML allows; remove it", at


def _first(references: Iterator[re.Match[bytes]], offset: int) -> Finding:
    """The first of them: in an attribute expat tells no more than the tag's place."""
    found = next(references, None)
    return _shown(found), found.start() if found else offset


def _names_character(digits: bytes) -> bool:
    base = 16 if digits.startswith(b"x") else 10
    code = int(digits.lstrip(b"x0")[:9] or b"0", base)
    allowed = code in (9, 10, 13) or 32 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD
    return allowed or 0x10000 <= code <= 0x10FFFF


def _open_cdata(data: bytes, offset: int, opened: Opened) -> Finding:
    return "this CDATA section is never closed; expected ]]>", data.rindex(b"<![CDATA[")


def _open_token(data: bytes, offset: int, opened: Opened) -> Finding:
    if data.startswith(b"&", offset):
        return f"bare '&'; write &amp;, {_CDATA}", offset
    if data.startswith(b"<!--", offset):
        return "this comment is never closed; expected -->", offset
    return _tag(data, offset, len(data), opened)


def _invalid(data: bytes, offset: int, opened: Opened) -> Finding:
    if data[offset - 2 : offset] == b"--" and _in_comment(data, offset):
        return "'--' inside a comment, which XML does not allow; write '- -'", offset - 2
    if data[offset - 2 : offset + 1] == b"]]>":
        return "']]>' in text; write ]]&gt;", offset - 2
    start = data.rfind(b"<", 0, offset)
    reference = data.rfind(b"&", start + 1, offset)
    in_tag = start >= 0 and not _closed(data, start, offset)
    if reference >= 0 and _PARTIAL_REFERENCE.fullmatch(data, reference + 1, offset):
        return f"bare '&'; write &amp;{'' if in_tag else ', ' + _CDATA}", reference
    return _tag(data, start, offset, opened) if in_tag else _outside(data, offset, opened)


def _closed(data: bytes, start: int, offset: int) -> bool:
    """Whether the tag, comment or section that begins at `start` ends before `offset`."""
    if data.startswith((b"</", b"<!"), start):
        return data.find(b">", start, offset) >= 0
    tag = _OPENING_TAG.match(data, start)
    return tag is not None and tag.end() <= offset


def _in_comment(data: bytes, offset: int) -> bool:
    start = data.rfind(b"<!--", 0, offset)
    return start >= 0 and data.find(b"-->", start + 4, offset) < 0


def _tag(data: bytes, start: int, offset: int, opened: Opened) -> Finding:
    """What is wrong with the tag that begins at `start`, or with the `<` that begins none."""
    if data.startswith(b"</", start):
        if not opened:
            return "a closing tag where no tag is open; remove it", start
        return f"malformed closing tag; expected {tagged('/' + opened[-1][0])}", start
    name = _NAME.match(data, start + 1)
    if name is None:
        if data.startswith(b"<?xml", start):
            return "malformed XML declaration; leave it out", start
        return f"bare '<' in text; write &lt;, {_CDATA}", start
    if name.start() <= offset < name.end():
        return _in_name(data, offset)
    return _attributes(data, start, offset, name)


def _in_name(data: bytes, offset: int) -> Finding:
    character = quoted(data[offset : offset + 4].decode(errors="ignore")[:1])
    return f"{character} cannot stand in the name of a tag or attribute; remove it", offset


_SPACE = re.compile(rb"[ \t\r\n]*")
_VALUE = re.compile(rb"\"[^\"<]*\"|'[^'<]*'")


def _attributes(data: bytes, start: int, offset: int, tag: re.Match[bytes]) -> Finding:
    """The first thing in an opening tag that is not `name="value"` with white space before it."""
    opening = tagged(tag[0].decode())[:-1]
    at = tag.end()
    while True:
        gap = _space(data, at)
        attribute = _NAME.match(data, gap)
        if attribute is None:
            if gap == len(data):
                return (
                    f"the document ends inside the tag {opening}; expected '>', {_IF_TEXT}",
                    start,
                )
            found = quoted(data[gap : gap + 4].decode(errors="ignore")[:1])
            return f"{found} in the tag {opening}; expected an attribute or '>', {_IF_TEXT}", start
        name = _shown(attribute)
        if gap == at:
            return f"no white space before attribute {name}; put a blank there", gap
        if gap <= offset < attribute.end():
            return _in_name(data, offset)
        equals = _space(data, attribute.end())
        if not data.startswith(b"=", equals):
            expected = f'expected {name[1:-1]}="…", {_IF_TEXT}'
            return f"attribute {name} of {opening} has no value; {expected}", start
        quote = _space(data, equals + 1)
        if not data.startswith((b'"', b"'"), quote):
            return f'the value of {name} is not quoted; expected {name[1:-1]}="…"', quote
        value = _VALUE.match(data, quote)
        if value is None:
            return _open_value(data, name, quote)
        at = value.end()


def _open_value(data: bytes, name: str, quote: int) -> Finding:
    """A value with a `<` inside, or one whose closing quote was forgotten: if that quote comes on
    the `<`'s line, the `<` is the likelier mistake."""
    bare = data.find(b"<", quote)
    line = data[bare:].split(b"\n", 1)[0] if bare >= 0 else b""
    if data[quote : quote + 1] in line and b"\n" not in data[quote:bare]:
        return f"bare '<' in the value of {name}; write &lt;", bare
    return f"the value of {name} has no closing quote", quote


def _space(data: bytes, at: int) -> int:
    blank = _SPACE.match(data, at)
    return blank.end() if blank else at


def _shown(match: re.Match[bytes] | None) -> str:
    return quoted(match[0].decode()) if match else "?"


_findings = {
    errors.codes[name]: finding
    for name, finding in (
        (errors.XML_ERROR_NO_ELEMENTS, _unfinished),
        (errors.XML_ERROR_SYNTAX, _outside),
        (errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT, _outside),
        (errors.XML_ERROR_TAG_MISMATCH, _mismatch),
        (errors.XML_ERROR_DUPLICATE_ATTRIBUTE, _doubled),
        (errors.XML_ERROR_UNDEFINED_ENTITY, _unknown_entity),
        (errors.XML_ERROR_BAD_CHAR_REF, _bad_number),
        (errors.XML_ERROR_UNCLOSED_CDATA_SECTION, _open_cdata),
        (errors.XML_ERROR_UNCLOSED_TOKEN, _open_token),
        (errors.XML_ERROR_INVALID_TOKEN, _invalid),
    )
}

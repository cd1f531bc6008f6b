"""Documents made to exhaust a parser or to smuggle something in: each is refused, with a place,
in less than a tenth of a second."""

import re
import time

import pytest

from pml.errors import PMLSyntaxError
from pml.markup import parse_markup

MIB = 1 << 20
BOMB = "".join(f"<!ENTITY e{i} '{f'&e{i - 1};' * 10}'>" for i in range(1, 12))


def numbered(count: int) -> str:
    """So many attributes, all different."""
    return "".join(f" n{i}=''" for i in range(count))


REFUSED: dict[str, str | bytes] = {
    "billion laughs": f'<!DOCTYPE a [<!ENTITY e0 "ha">{BOMB}]><a>&e11;</a>',
    "quadratic blow-up": f"<!DOCTYPE a [<!ENTITY e '{'x' * 50_000}'>]><a>{'&e;' * 10_000}</a>",
    "entity that holds itself": '<!DOCTYPE a [<!ENTITY e "&e;">]><a>&e;</a>',
    "parameter entities": '<!DOCTYPE a [<!ENTITY % p "<!ENTITY q \'x\'>">%p;]><a>&q;</a>',
    "external entity, a file": '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>',
    "external entity, the network": '<!DOCTYPE a [<!ENTITY e SYSTEM "http://localhost/">]><a>&e;</a>',
    "external entity, public": '<!DOCTYPE a [<!ENTITY e PUBLIC "x" "file:///etc/passwd">]><a>&e;</a>',
    "external parameter entity": '<!DOCTYPE a [<!ENTITY % e SYSTEM "file:///etc/passwd">%e;]><a/>',
    "external subset": '<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><a/>',
    "public subset": '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN" "http://localhost/"><a/>',
    "default attributes": '<!DOCTYPE a [<!ATTLIST a b CDATA "x">]><a/>',
    "notation": '<!DOCTYPE a [<!NOTATION n SYSTEM "n">]><a/>',
    "empty doctype": "<!DOCTYPE a><a/>",
    "doctype after a comment": "<!-- --><!DOCTYPE a><a/>",
    "doctype in lower case": "<!doctype a><a/>",
    "doctype inside": "<a><!DOCTYPE a></a>",
    "doctype never closed": "<!DOCTYPE a [",
    "doctype with a huge name": f"<!DOCTYPE {'a' * MIB}><a/>",
    "conditional section": "<a><![INCLUDE[x]]></a>",
    "entity declaration inside": '<a><!ENTITY e "x"></a>',
    "processing instruction": "<?php system('id') ?><a/>",
    "processing instruction inside": "<a><?x?></a>",
    "processing instruction behind": "<a/><?x?>",
    "stylesheet": '<?xml-stylesheet href="http://localhost/"?><a/>',
    "second declaration": '<a><?xml version="1.0"?></a>',
    "declaration not at the start": ' <?xml version="1.0"?><a/>',
    "many instructions": f"<a>{'<?x?>' * 200_000}</a>",
    "another encoding": '<?xml version="1.0" encoding="UTF-7"?><a>+ADw-</a>',
    "another version": '<?xml version="1.1"?><a/>',
    "UTF-16": "<a/>".encode("utf-16"),
    "UTF-16 without mark": "<a/>".encode("utf-16-le"),
    "UTF-32": "<a/>".encode("utf-32"),
    "Latin-1": "<a>é</a>".encode("latin-1"),
    "overlong slash": b"<a>\xc0\xaf</a>",
    "overlong less-than": b"<a>\xe0\x80\xbc</a>",
    "surrogate in UTF-8": b"<a>\xed\xa0\x80</a>",
    "beyond Unicode": b"<a>\xf4\x90\x80\x80</a>",
    "cut character": b"<a>\xe2\x82",
    "lone continuation": b"<a>\x80</a>",
    "lone surrogate in a string": "<a>\udc80</a>",
    "NUL in text": "<a>\0</a>",
    "NUL in a tag": "<a\0/>",
    "NUL in a value": "<a b='\0'/>",
    "NUL as a reference": "<a>&#0;</a>",
    "NUL behind the end": "<a/>\0",
    "control character as a reference": "<a>&#x1b;[2J</a>",
    "surrogate as a reference": "<a>&#xD800;</a>",
    "reference beyond Unicode": "<a>&#x110000;</a>",
    "reference with a huge number": f"<a>&#{'9' * MIB};</a>",
    "undeclared entity": "<a>&nbsp;</a>",
    "undeclared entity in a value": "<a b='&nbsp;'/>",
    "entity with a huge name": f"<a>&{'e' * MIB};</a>",
    "deep nesting": "<a>" * 200_000,
    "deep nesting, closed": "<a>" * 65 + "</a>" * 65,
    "too many elements": f"<a>{'<b/>' * 100_000}</a>",
    "too many comments": f"<a>{'<!---->' * 100_000}</a>",
    "too many sections": f"<a>{'<![CDATA[]]>' * 100_000}</a>",
    "many attributes": f"<a{numbered(65)}/>",
    "a million attributes": f"<a{numbered(500_000)}/>",
    "the same attribute a million times": "<a " + "n='' " * 1_000_000 + "/>",
    "attributes without values": f"<a {'n ' * 500_000}/>",
    "huge tag never closed": f"<{'a' * MIB}",
    "huge value never closed": f"<a b='{'x' * MIB}",
    "huge comment never closed": f"<a><!--{'x' * MIB}",
    "huge section never closed": f"<a><![CDATA[{'x' * MIB}",
    "comments opened again and again": f"<a>{'<!--' * 200_000}",
    "sections opened again and again": f"<a>{'<![CDATA[' * 90_000}",
    "quotes opened again and again": f"<a>{'<b c=' * 50_000}",
    "less-than again and again": f"<a>{'<' * MIB}",
    "ampersand again and again": f"<a>{'&' * MIB}",
    "huge name in a mismatch": f"<{'a' * MIB}></{'b' * MIB}>",
    "beyond the size": f"<a>{'x' * 8 * MIB}</a>",
    "namespace": '<a xmlns="http://www.w3.org/1999/xhtml"/>',
    "include": '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd"/>',
    "base": '<a xml:base="file:///etc/"/>',
}  # fmt: skip


@pytest.mark.parametrize("document", REFUSED.values(), ids=REFUSED)
def test_refused_at_a_place_at_once(document: str | bytes) -> None:
    started = time.thread_time()  # of this thread alone: the machine may be busy
    with pytest.raises(PMLSyntaxError) as caught:
        parse_markup(document, "f")
    seconds = time.thread_time() - started
    assert seconds < 0.1
    assert re.fullmatch(r"f:\d+:\d+: [^\n\r]{10,300}", str(caught.value))

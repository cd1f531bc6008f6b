"""Our markup against lxml, hardened, on small documents: the same verdict and the same tree.

20,000 documents, and 5 million more under `make soak`, in shards that workers share.
"""

import random
import re

import pytest
from lxml import etree

from pml.errors import PMLSyntaxError
from pml.markup import Element, Text, parse_markup

SOAK = [pytest.param(shard, 500_000, marks=pytest.mark.soak) for shard in range(1, 11)]
Tree = tuple[str, tuple[tuple[str, str], ...], tuple["Tree | str", ...]]

TAGS = ["a", "b", "module", "x-1", "_y.z", "é"]
NAMES = ["n", "name", "len", "x-1", "ü"]
TEXTS = [
    "t",
    "0 ",
    " \n ",
    "\t",
    "\r\n",
    "\r",
    "é",
    "—",
    "]]",
    "]",
    ">",
    "'",
    '"',
    "=",
    "--",
    "/",
]
REFERENCES = ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#65;", "&#x1F600;", "&#10;", "&#13;"]
WRONG = [
    *["<", "&", "]]>", "</", "/>", "<!--", "-->", "<![CDATA[", "]]", "&nope;", "&#0;", "&#xFFFE;"],
    *["&#;", "&#x;", "&#1114112;", "\x01", "\ufffe", "\x7f", "<a", "<a ", "<1>", "< a>", "<a =''>"],
    *["</a >", "</ a>", "<a b>", "<a b=c>", "<a b='1'c='2'>", "<a b='1' b='2'>", "<a b='<'>"],
    *["<a b='&'>", "<a b='&#9;&lt;'/>", "<a\n>", "<a\tb\n=\r\n'x'/>", "<!x>", "<!-- a -- b -->"],
    *["<!---->", "<!--->", "<a/ >", "<a b='1\n2\t3'/>", "x=", "'", '"', "&amp", ";"],
]


def element(rng: random.Random, depth: int) -> str:
    tag = rng.choice(TAGS)
    names = rng.sample(NAMES, rng.choice([0, 0, 1, 2]))
    attributes = "".join(f" {name}={value(rng)}" for name in names)
    if depth > 4 or rng.random() < 0.2:
        return f"<{tag}{attributes}/>"
    inner = "".join(piece(rng, depth + 1) for _ in range(rng.randrange(5)))
    return f"<{tag}{attributes}>{inner}</{tag}>"


def value(rng: random.Random) -> str:
    quote = rng.choice("'\"")
    inner = "".join(rng.choice(TEXTS + REFERENCES) for _ in range(rng.randrange(4)))
    return quote + inner.replace(quote, "") + quote


def piece(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if kind < 0.35:
        return element(rng, depth)
    if kind < 0.45:
        return f"<![CDATA[{rng.choice(['', 'x < y', '&amp;', ']', '<b>', ' ', '<!--'])}]]>"
    if kind < 0.55:
        return f"<!--{rng.choice(['', ' c ', ' < & ', '<a>', '- -'])}-->"
    return rng.choice(TEXTS + REFERENCES).replace("]]", "] ]")


def document(rng: random.Random) -> str:
    text = rng.choice(["", "", "\n", "<!-- top -->", '<?xml version="1.0"?>']) + element(rng, 0)
    text += rng.choice(["", "", "\n ", "<!-- end -->"])
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        at = rng.randrange(len(text) + 1)
        cut = at + rng.choice([0, 0, 1, 2, 5])
        text = text[:at] + rng.choice([rng.choice(WRONG), rng.choice(TEXTS), ""]) + text[cut:]
    return text


def ours(text: str) -> Tree | str:
    try:
        return tree(parse_markup(text, "f"))
    except PMLSyntaxError as error:
        return str(error)


def tree(node: Element) -> Tree:
    children = tuple(c.text if isinstance(c, Text) else tree(c) for c in node.children)
    return (node.tag, tuple(node.attributes.items()), children)


def theirs(text: str) -> Tree | str:
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        recover=False,
        huge_tree=False,
        remove_comments=False,
        strip_cdata=True,
    )
    try:
        root = etree.fromstring(text.encode(), parser)
        document = root.getroottree().docinfo
        foreign = document.doctype or root.xpath("//processing-instruction()")
        if foreign or document.xml_version != "1.0":
            return "well formed, but not taken from XML"
        return lxml_tree(root)
    except etree.XMLSyntaxError as error:
        return str(error)


def lxml_tree(node: etree._Element) -> Tree:
    children: list[Tree | str] = []

    def add(text: str | None) -> None:
        if text and children and isinstance(children[-1], str):
            children[-1] += text
        elif text:
            children.append(text)

    add(node.text)
    for child in node:
        if isinstance(child.tag, str):
            children.append(lxml_tree(child))
        add(child.tail)
    return (str(node.tag), tuple((str(k), str(v)) for k, v in node.items()), tuple(children))


@pytest.mark.fuzz
@pytest.mark.parametrize(("shard", "count"), [(0, 20_000), *SOAK])
def test_same_verdict_and_tree_as_lxml(shard: int, count: int) -> None:
    rng = random.Random(20240911 + shard)
    accepted = 0
    for number in range(count):
        text = document(rng)
        mine, other = ours(text), theirs(text)
        if isinstance(mine, str):
            assert re.match(r"f:\d+:\d+: [^\n]+$", mine), (number, text)
            assert isinstance(other, str), (number, text, mine)
        else:
            accepted += 1
            assert mine == other, (number, text)
    assert count / 4 < accepted < 3 * count / 4

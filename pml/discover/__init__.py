"""From a log of prompts to a schema of what they share, and the prompts rewritten against it.

    log.py       JSON lines to turns                    atoms.py     text cut into lines, sentences
    flat.py      a prompt as one string                 merge.py     what always stands together
    patterns.py  a schema's modules found in prompts    slots.py     sentences that differ in spans
    rewrite.py   a prompt against a schema              unions.py    alternatives at one place
    report.py    what is reused                         propose.py   all of it to a schema

The whole takes n·log n in the log's characters.
"""

from pml.discover.flat import Turn, flatten
from pml.discover.log import parse_request, read_lines, read_log
from pml.discover.propose import propose
from pml.discover.report import Report, Tally
from pml.discover.rewrite import Rewriter, rewrite
from pml.discover.tokens import estimated_tokens

__all__ = [
    "Report",
    "Rewriter",
    "Tally",
    "Turn",
    "estimated_tokens",
    "flatten",
    "parse_request",
    "propose",
    "read_lines",
    "read_log",
    "rewrite",
]

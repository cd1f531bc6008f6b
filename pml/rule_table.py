"""The rules of the language by their codes: what a diagnostic's `code` means.

`docs/lint.md` shows the same tables; `pml check --json` and `--sarif` carry the codes.
"""

ERRORS = {
    "encoding": "The document is UTF-8, of characters that XML allows.",
    "limit": "A document stays within limits of size, depth and number of elements.",
    "malformed-xml": "The document is well-formed XML.",
    "foreign-xml": "PML has no DTD, no processing instructions and no namespaces.",
    "wrong-root": "A schema is one <schema>, a prompt one <prompt>.",
    "unknown-tag": "A schema holds the tags of the language only.",
    "misplaced": "A tag or a text stands where it may.",
    "unknown-attribute": "A tag has the attributes of the language only.",
    "missing-attribute": "A tag has the attributes it cannot do without.",
    "wrong-value": "An attribute's value is of its kind.",
    "reserved-name": "A module is not called like a tag that means something else in a prompt.",
    "duplicate-name": "Names are unique among the children of one module.",
    "empty-union": "A union has members.",
    "scaffold": "A scaffold names modules that one prompt can import together, each once.",
    "include": "A file named by src stands below the schema's folder and can be read.",
    "role-in-role": "A role tag stands in no other.",
    "duplicate-argument": "An argument is given once.",
    "other-schema": "A prompt goes with the schema that it names.",
    "unknown-module": "A prompt imports what the schema has, inside its parent's tag.",
    "repeated-import": "A prompt imports a module once, in the fixed layout.",
    "union-rivals": "A prompt imports at most one member of a union.",
    "union-required": "A prompt imports one member of a required union.",
    "unknown-parameter": "An argument belongs to a parameter of the module.",
    "missing-argument": "A parameter without default gets an argument.",
    "argument-length": "An argument fits its parameter's slot.",
    "default-length": "A parameter's default, and its words for a scaffold, fit its slot.",
    "text-length": "In the fixed layout new text fits the gap that it stands in.",
    "context-length": "A prompt, and a parameter's slot, fits the model's context.",
    "empty-prompt": "A prompt, and a turn of a chat, holds a token at least.",
    "unknown-role": "The model has chat markers for the roles of a document.",
    "program": "A prompt function holds what a schema can say.",
    "chat": "A chat takes the packed layout, and its first turn the arguments of anonymous text.",
    "unwritable": "A tree that a program builds means the same when it is written as PML.",
    "log": "A line of a log is a prompt or a chat request.",
    "discover": "Prompts are rewritten against a schema of modules that none of them has to take.",
    "lost-text": "The model's vocabulary holds every character of a text.",
}

WARNINGS = {
    "token-boundary": "Where two texts meet, the tokens are those of the joined text.",
    "alibi-gap": "Under ALiBi a prompt leaves no wide gap: distance costs weight.",
    "parameter-length": "A parameter is not far longer than the arguments it gets.",
    "union-lengths": "The members of a union are of like length.",
    "unused-module": "Of a set of prompts one at least imports the module.",
    "schema-context": "A schema in the fixed layout fits into the model's context.",
}

RULES = {**ERRORS, **WARNINGS}

"""The tokens that stand for something else than text, and their file, `roles.json`.

    {"format": 1, "bos": null, "placeholder": 0, "stop": [0, 2],
     "roles": {"user": {"open": [1, 4093, 198], "open_text": "<|im_start|>user\\n",
                        "close": [2, 198], "close_text": "<|im_end|>\\n"}, …}}

A role has `cue` and `after_system` as well, where they differ from `open`. The ids were found
once, at conversion. The texts beside them are for the reader; no template is ever rendered for a
request. A checkpoint with a trained header has its tokens too: `"header": [49152, 49153]`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from types import MappingProxyType

from minillm.errors import LoadError, shown
from minillm.json_file import checkpoint_file, fields, read_json

ROLES_FILE = "roles.json"
ROLES = ("system", "user", "assistant")
MARKERS = ("open", "close", "after_system", "cue")
MAX_MARKER_TOKENS = MAX_HEADER = 256


@dataclass(frozen=True)
class RoleMarkers:
    """The token ids put before and after what a role says.

    Two formats need more than that. Llama 2 writes the system's turn into the user's first one, so
    that `after_system` opens a turn that follows the system's. And where the model itself begins
    an answer with a blank (`ASSISTANT: `), `cue` is what asks for it (`ASSISTANT:`). Both are None
    where they are `open`.

    >>> user = RoleMarkers(open=(5, 6), close=(7,), after_system=())
    >>> user.opening(None), user.opening("system"), user.asking
    ((5, 6), (), (5, 6))
    """

    open: tuple[int, ...]
    close: tuple[int, ...]
    after_system: tuple[int, ...] | None = None
    cue: tuple[int, ...] | None = None

    def opening(self, before: str | None) -> tuple[int, ...]:
        """What opens a turn that stands right after one of the role `before`."""
        inside = before == "system" and self.after_system is not None
        return self.after_system or () if inside else self.open

    @property
    def asking(self) -> tuple[int, ...]:
        """What stands at the end of a prompt, for this role to answer."""
        return self.open if self.cue is None else self.cue


@dataclass(frozen=True)
class MarkerTexts:
    """How a role's markers read, special tokens spelled out."""

    open: str
    close: str
    after_system: str | None = None
    cue: str | None = None


@dataclass(frozen=True)
class SpecialTokens:
    """What `Tokenizer` says of its special tokens; its attributes explain them."""

    bos: int | None
    placeholder: int
    stop: frozenset[int]
    roles: Mapping[str, RoleMarkers] = field(default_factory=lambda: MappingProxyType({}))
    header: tuple[int, ...] = ()

    def all_ids(self) -> frozenset[int]:
        markers = (ids for role in self.roles.values() for ids in astuple(role) if ids)
        bos = () if self.bos is None else (self.bos,)
        return self.stop.union(*markers, bos, (self.placeholder,))

    def canonical(self) -> bytes:
        """The same bytes for the same special tokens, for fingerprints."""
        roles = {name: astuple(role) for name, role in self.roles.items()}
        content = [self.bos, self.placeholder, sorted(self.stop), roles]
        return json.dumps(content, sort_keys=True).encode()


def save_special_tokens(
    special: SpecialTokens, texts: Mapping[str, MarkerTexts], folder: Path
) -> None:
    """Write `roles.json`; `texts` says for each role how its markers read."""
    roles = {role: _described(markers, texts[role]) for role, markers in special.roles.items()}
    content = {
        "format": 1,
        "bos": special.bos,
        "placeholder": special.placeholder,
        "stop": sorted(special.stop),
        "roles": roles,
    }
    if special.header:
        content["header"] = list(special.header)
    _write(content, folder)


def add_header(header: Sequence[int], folder: Path) -> None:
    """Write these tokens into the folder's `roles.json`."""
    _write(json.loads((folder / ROLES_FILE).read_bytes()) | {"header": list(header)}, folder)


def _write(content: Mapping[str, object], folder: Path) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / ROLES_FILE).write_text(text + "\n", encoding="utf-8")


def _described(markers: RoleMarkers, texts: MarkerTexts) -> dict[str, object]:
    """Ids and text of each marker, one beside the other."""
    described: dict[str, object] = {}
    for (name, ids), text in zip(asdict(markers).items(), astuple(texts), strict=True):
        if ids is not None:
            described |= {name: list(ids), f"{name}_text": text}
    return described


def load_special_tokens(folder: Path) -> SpecialTokens:
    """Read `roles.json`; raises `LoadError` on anything that its format does not have."""
    path = checkpoint_file(folder, ROLES_FILE)
    try:
        return _read(read_json(path))
    except ValueError as error:
        raise LoadError(f"{path}: {error}") from error


def _read(content: object) -> SpecialTokens:
    names = {"format", "bos", "placeholder", "stop", "roles"}
    found = fields(content, names, "the file", optional={"header"})
    if found["format"] != 1:
        raise ValueError(f"format is {shown(found['format'])}, expected 1")
    roles = fields(found["roles"], set(), "roles", optional=set(ROLES))
    return SpecialTokens(
        bos=None if found["bos"] is None else _id(found["bos"]),
        placeholder=_id(found["placeholder"]),
        stop=frozenset(_ids(found["stop"])),
        roles=MappingProxyType({name: _markers(name, role) for name, role in roles.items()}),
        header=_ids(found.get("header", [])),
    )


def _markers(name: str, content: object) -> RoleMarkers:
    optional = {"cue", "after_system", *(f"{name}_text" for name in MARKERS)}
    found = fields(content, {"open", "close"}, f"role {name!r}", optional=optional)
    return RoleMarkers(**{name: _ids(found[name]) for name in MARKERS if name in found})


def _ids(content: object) -> tuple[int, ...]:
    if not isinstance(content, list) or len(content) > MAX_MARKER_TOKENS:
        raise ValueError(f"{shown(content)} is no list of at most {MAX_MARKER_TOKENS} token ids")
    return tuple(_id(item) for item in content)


def _id(content: object) -> int:
    if isinstance(content, bool) or not isinstance(content, int) or not 0 <= content < 1 << 31:
        raise ValueError(f"{shown(content)} is no token id")
    return content

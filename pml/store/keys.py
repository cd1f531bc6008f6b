"""What a stored state is called: a content hash over all that its numbers depend on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from pml.context import State

FORMAT = b"segment 2"


@dataclass(frozen=True)
class SegmentKey:
    """The identity of a stored segment: a content hash, and the origin its keys are turned for.

    `tokens` are in the hash; they are kept to be compared on a hit.
    """

    digest: str
    origin: int
    tokens: tuple[int, ...] = field(compare=False, repr=False)

    def __hash__(self) -> int:
        return hash((self.digest, self.origin))

    @property
    def name(self) -> str:
        """`DIGEST-ORIGIN`, unlike that of any other key."""
        return f"{self.digest}-{self.origin}"


def segment_key(
    model: str, tokenizer: str, dtype: str, codec: str, namespace: str, state: State
) -> SegmentKey:
    """sha256 over format, fingerprints of model (its shape and positions in it) and tokenizer (its
    role markers in it), the dtype computed in, how numbers are stored, the tenant's namespace, and
    the state's own key, which is one of tokens, distances and contexts. Each field is preceded by
    its length: no two contents read alike."""
    digest = hashlib.sha256(FORMAT)
    for value in (model, tokenizer, dtype, codec, namespace, state.key):
        data = value.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return SegmentKey(digest.hexdigest(), state.origin, state.tokens)

"""Law 11: "the store = a naive dictionary under any sequence of operations"."""

from __future__ import annotations

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)
from strategies import ModelShape, hot_model, model_shapes

from minillm.kv import KVSegment, Placed
from minillm.model import Transformer
from pml.context import Node, State
from pml.encoder import Encoder, Job
from pml.steps import finish
from pml.store import ModuleStore, SegmentKey, segment_key

Content = tuple[object, ...]
"""All that a stored segment depends on, spelled out; what `SegmentKey` is a hash of."""


class StoreMachine(RuleBasedStateMachine):
    """States with and without a context, encoded at several places by a small model, stored under
    the names of several models and tokenizers.

    Catches a key that leaves out one of these or runs two of them together, a segment that is
    replaced or not where it should be, one that is given back altered, and counts that are not
    those of the look-ups.
    """

    stored = Bundle("stored")
    keys = Bundle("keys")
    states = Bundle("states")

    def __init__(self) -> None:
        super().__init__()
        self.store = ModuleStore()
        self.naive: dict[Content, torch.Tensor] = {}
        self.held: dict[Content, KVSegment | None] = {}
        self.seen: dict[State, KVSegment] = {}
        self.hits = self.misses = 0

    @initialize(shape=model_shapes(), target=states)
    def start(self, shape: ModelShape) -> object:
        self.model: Transformer = hot_model(shape)
        places = ((1, 0), (1, 1), (2, 0))
        return multiple(*(State.of((token,), at, "/") for token, at in places))

    @rule(
        target=states,
        tokens=st.lists(st.integers(1, 2), min_size=1, max_size=3),
        previous=st.none() | states,
        origin=st.integers(0, 2),
        is_placeholder=st.booleans(),
    )
    def state(
        self, tokens: list[int], previous: State | None, origin: int, is_placeholder: bool
    ) -> State:
        if previous is not None:
            origin += previous.origin + len(previous.tokens)
        return State.of(tokens, origin, "/", previous, is_placeholder=is_placeholder)

    @rule(
        target=keys,
        state=states,
        names=st.sampled_from((("m", "t"), ("m", "tt"), ("mt", "t"))),
        dtype=st.sampled_from(("float32", "float64")),
        codec=st.sampled_from(("native", "int8")),
        namespace=st.sampled_from(("", "a", "b")),
    )
    def key(
        self, state: State, names: tuple[str, str], dtype: str, codec: str, namespace: str
    ) -> tuple[SegmentKey, Content, State]:
        fields = (*names, dtype, codec, namespace)
        return segment_key(*fields, state), (*fields, state.origin, *_content(state)), state

    @rule(entry=keys, mark=st.integers(0, 3), is_held=st.booleans())
    def put(self, entry: tuple[SegmentKey, Content, State], mark: int, is_held: bool) -> None:
        """Numbers that tell one version from the next; the store may be the only one to hold it."""
        key, content, state = entry
        encoded = self.encode(state)
        segment = KVSegment(encoded.block + mark, encoded.offsets, encoded.origin)
        self.store.put(key, segment)
        self.naive[content] = segment.block.clone()
        self.held[content] = segment if is_held else None

    def encode(self, state: State) -> KVSegment:
        placed = list[Placed]()
        for node in Node(state, state.origin).context:
            if node.state not in self.seen:
                self.seen[node.state] = self.encode(node.state)
            placed.append(Placed(self.seen[node.state], node.start))
        (segment,) = finish(Encoder(self.model).encode([Job(state, placed)]))
        return segment

    @rule(entry=keys)
    def get(self, entry: tuple[SegmentKey, Content, State]) -> None:
        key, content, state = entry
        found = self.store.get(key)
        if content in self.naive:
            assert found is not None
            assert self.held[content] in (None, found)
            assert torch.equal(found.block, self.naive[content])
            assert found.origin == state.origin
            self.hits += 1
        else:
            assert found is None
            self.misses += 1

    @rule(entry=keys)
    def contains(self, entry: tuple[SegmentKey, Content, State]) -> None:
        key, content, _ = entry
        assert (key in self.store) == (content in self.naive)

    @invariant()
    def counts_agree(self) -> None:
        assert (self.store.hits, self.store.misses) == (self.hits, self.misses)
        num_bytes = sum(block.numpy().nbytes for block in self.naive.values())
        assert self.store.num_bytes == num_bytes


def _content(state: State) -> Content:
    """The tokens, the mark of a placeholder, and the same of all that was seen, with distances."""
    one, content = state, [(state.tokens, state.is_placeholder)]
    while one.previous is not None:
        distance, one = one.distance, one.previous
        content.append((distance, one.tokens, one.is_placeholder))
    return tuple(content)


StoreMachine.TestCase.settings = settings(stateful_step_count=50)
test_law_11_the_store_is_a_naive_dictionary = StoreMachine.TestCase

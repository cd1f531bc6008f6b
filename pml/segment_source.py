"""Segments of states: out of the store, or encoded and put there."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from minillm.checkpoint import LoadedModel
from minillm.kv import KVSegment
from pml.context import Node, State, closure
from pml.encoder import Encoder, Job, packed, waves
from pml.steps import Steps
from pml.store import ModuleStore, SegmentKey, StoreFull, segment_key

log = logging.getLogger("pml")

Segments = Mapping[State, KVSegment]

WAIT = 0.005
"""Seconds until it is asked again whether another process has encoded a state."""


@dataclass(frozen=True)
class Encoding:
    """What had to be encoded, how many states were there already, and the seconds it took."""

    encoded: tuple[State, ...]
    kept: int
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(len(state.tokens) for state in self.encoded)

    def __repr__(self) -> str:
        encoded = f"{len(self.encoded)} states, {self.tokens} tokens in {self.seconds:.3g} s"
        return f"<Encoding: {encoded}; {self.kept} states kept>"


class SegmentSource:
    """Of one model's states in one store. No other `namespace` finds what this one has stored, but
    those that are `share`d. In each list of states a state comes after its context."""

    def __init__(self, model: LoadedModel, store: ModuleStore, namespace: str) -> None:
        self.store = store
        self._model, self._namespace = model, namespace
        self._shared: set[str] = set()

    def share(self, states: Iterable[State]) -> None:
        self._shared |= {state.key for state in states}

    def key_of(self, state: State) -> SegmentKey:
        model = self._model
        dtype = model.transformer.dtype_name
        names = (model.fingerprint, model.tokenizer.fingerprint)
        return segment_key(*names, dtype, self.store.codec.name, self._namespace_of(state), state)

    def _namespace_of(self, state: State) -> str:
        return "" if state.key in self._shared else self._namespace

    def segments(self, states: Sequence[State]) -> Steps[tuple[Segments, Encoding]]:
        """Of all `states`; those that are not stored are encoded, one to a forward."""
        started, keys = time.perf_counter(), self._admitted(states)
        segments: dict[State, KVSegment] = {}
        encoded: list[State] = []
        encoder = Encoder(self._model.transformer)
        for state, key in keys.items():
            segments[state], is_new = yield from self._obtained(state, key, segments, encoder)
            encoded += [state] * is_new
        seconds = time.perf_counter() - started if encoded else 0.0
        return segments, Encoding(tuple(encoded), len(states) - len(encoded), seconds)

    def encode(self, states: Sequence[State]) -> Steps[Encoding]:
        """Encode what is not stored, as many to a forward as fit; where memory cannot hold all
        together, one by one into a store that lasts. Raises `StoreFull` where there is none."""
        try:
            return (yield from self._together(states))
        except StoreFull:
            if not self.store.lasts:
                raise
        return (yield from self._apart(states))

    def _admitted(self, states: Sequence[State]) -> dict[State, SegmentKey]:
        """The keys of states that memory can hold together, which is known before any work. What
        lies on disk is on its way."""
        transformer = self._model.transformer
        size = self._model.config.kv_bytes_per_token(transformer.dtype.itemsize)
        keys = {state: self.key_of(state) for state in states}
        self.store.admit({key: len(state.tokens) * size for state, key in keys.items()})
        self.store.prefetch(keys.values())
        return keys

    def _obtained(
        self, state: State, key: SegmentKey, segments: Segments, encoder: Encoder
    ) -> Steps[tuple[KVSegment, bool]]:
        """The segment of a state whose context is in `segments`; whether it had to be encoded."""
        if (segment := self.store.get(key)) is not None:
            return segment, False
        yield state.path, 0
        while not self.store.claim(key):  # Another process is encoding it.
            time.sleep(WAIT)
            yield state.path, 0
        try:
            if key in self.store and (segment := self.store.get(key)) is not None:
                return segment, False  # Someone else had it encoded in between.
            began = time.perf_counter()
            (segment,) = yield from encoder.encode([Job.of(state, segments)])
            return self._keep(state, key, segment, time.perf_counter() - began), True
        finally:
            self.store.release(key)

    def _together(self, states: Sequence[State]) -> Steps[Encoding]:
        started, keys = time.perf_counter(), self._admitted(states)
        found = {state: self.store.get(key) for state, key in keys.items()}
        segments = {state: segment for state, segment in found.items() if segment is not None}
        missing = [state for state in states if state not in segments]
        encoder, new = Encoder(self._model.transformer), set[State]()
        for wave in waves(missing):
            claimed = [state for state in wave if self.store.claim(keys[state])]
            try:
                mine = [state for state in claimed if keys[state] not in self.store]
                for jobs in packed(Job.of(state, segments) for state in mine):
                    segments |= yield from self._kept_together(jobs, keys, encoder)
                new.update(mine)
            finally:
                for state in claimed:
                    self.store.release(keys[state])
            for state in wave:  # What another process has encoded, or is encoding.
                if state not in segments:
                    obtaining = self._obtained(state, keys[state], segments, encoder)
                    segments[state], is_new = yield from obtaining
                    if is_new:
                        new.add(state)
        encoded = tuple(state for state in missing if state in new)
        seconds = time.perf_counter() - started if encoded else 0.0
        return Encoding(encoded, len(found) - len(encoded), seconds)

    def _apart(self, states: Sequence[State]) -> Steps[Encoding]:
        """One after the other, each with no more in memory than what it sees."""
        started, encoded = time.perf_counter(), list[State]()
        for state in states:
            seen = [node.state for node in closure([Node(state, state.origin)])]
            _, encoding = yield from self.segments(seen)
            encoded += encoding.encoded
        seconds = time.perf_counter() - started if encoded else 0.0
        return Encoding(tuple(encoded), len(states) - len(encoded), seconds)

    def _kept_together(
        self, jobs: Sequence[Job], keys: Mapping[State, SegmentKey], encoder: Encoder
    ) -> Steps[Segments]:
        began, tokens = time.perf_counter(), sum(len(job.state.tokens) for job in jobs)
        segments = yield from encoder.encode(jobs)
        each = (time.perf_counter() - began) / tokens
        return {
            state: self._keep(state, keys[state], segment, each * len(state.tokens))
            for state, segment in zip((job.state for job in jobs), segments, strict=True)
        }

    def _keep(self, state: State, key: SegmentKey, segment: KVSegment, seconds: float) -> KVSegment:
        log.debug("encoded %s: %d tokens", state.path, len(state.tokens))
        namespace = self._namespace_of(state)
        return self.store.put(key, segment, seconds, label=state.path, namespace=namespace)

"""PromptCache: schemas in, answers out; what prompts have in common is computed once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from minillm.answer import Answer, Delta, FinishReason, check_max_tokens
from minillm.checkpoint import LoadedModel
from minillm.errors import LoadError
from minillm.generate import decode, prefill
from minillm.kv import KVSegment
from minillm.sampling import Sampling
from pml.assembly import fresh_tokens, placed_segments
from pml.context import Node
from pml.encoder import encode
from pml.errors import PMLPromptError, did_you_mean, listed
from pml.plan import PromptPlan
from pml.planner import Planner
from pml.prompt import Prompt, parse_prompt
from pml.schema import Schema, parse_schema
from pml.store import MemoryStore, SegmentKey, segment_key

log = logging.getLogger("pml")

Progress = Callable[[str, int], None]
"""Told the path of a span and how many of its tokens were just encoded."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer: of the prompt, how many were reused and how many computed;
    `encoded_tokens` had to be encoded first because no state was stored."""

    cached_tokens: int
    fresh_tokens: int
    encoded_tokens: int = 0
    completion_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        return self.cached_tokens + self.fresh_tokens


@dataclass(frozen=True)
class Timings:
    """Seconds: `ttft` from the prompt's text to the first token's id, with `encode` in it (what
    was not stored had to be encoded), and `decode` from there to the end."""

    ttft: float
    encode: float
    decode: float = 0.0


@dataclass(frozen=True)
class Prefilled:
    """A prompt brought to the point where the next token is drawn: its last token's logits."""

    plan: PromptPlan
    logits: Tensor
    usage: Usage
    encode_seconds: float
    copied_tokens: int


@dataclass(frozen=True)
class Completion:
    """A whole answer, what it took, and the plan that says where every token stood."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    plan: PromptPlan


class PromptCache:
    """Answers prompts over schemas, reusing the stored states of the modules they import.

    `attention` and `layout` override what a schema says; `fresh_anonymous` is the length up to
    which anonymous text behind an imported module is computed afresh. Not safe for use by several
    threads at a time. Raises `LoadError` for a model whose states are of no use in another prompt.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        attention: str | None = None,
        layout: str | None = None,
        fresh_anonymous: int = 16,
        store: MemoryStore | None = None,
    ) -> None:
        scaling = model.config.rope_scaling
        if scaling is not None and model.config.follows_length:
            raise LoadError(
                f"{model.name}: its RoPE frequencies ({scaling.kind}) follow the text's length, so "
                "a key of one prompt is wrong in another and nothing can be reused; "
                "`minillm generate` runs this model in full prefill"
            )
        self.model = model
        self.store = MemoryStore() if store is None else store
        self.schemas: dict[str, Planner] = {}
        self._attention, self._layout = attention, layout
        self._fresh_anonymous = fresh_anonymous
        self._buffer = model.transformer.new_cache()
        self._latest: Prefilled | None = None

    def add_schema(self, source: str | Path) -> Schema:
        """Take a schema: a path, or PML text (which starts with `<`). Nothing is encoded yet.

        Raises `PMLError` for what is wrong with it, `NotBuiltYet` for options this version lacks.
        """
        text = str(source)
        if text.lstrip("\ufeff \t\r\n").startswith("<"):
            schema = parse_schema(text)
        else:
            path = Path(source).expanduser()
            schema = parse_schema(path.read_bytes(), str(source), src_root=path.parent)
        self.schemas[schema.name] = Planner.of(
            schema,
            self.model.tokenizer,
            self.model.config.max_positions,
            attention=self._attention,
            layout=self._layout,
            fresh_anonymous=self._fresh_anonymous,
        )
        return schema

    def plan(self, prompt: str | bytes | Prompt, file: str = "<prompt>") -> PromptPlan:
        """The prompt resolved against its schema: `Planner.plan`, which see."""
        if not isinstance(prompt, Prompt):
            prompt = parse_prompt(prompt, file)
        planner = self.schemas.get(prompt.schema)
        if planner is None:
            message = f"no schema {prompt.schema!r}; expected {listed(self.schemas)}"
            raise PMLPromptError(message + did_you_mean(prompt.schema, self.schemas), prompt.at)
        return planner.plan(prompt)

    def is_stored(self, node: Node) -> bool:
        return self.key_of(node) in self.store

    def key_of(self, node: Node) -> SegmentKey:
        dtype = str(self.model.transformer.dtype).removeprefix("torch.")
        fingerprints = (self.model.fingerprint, self.model.tokenizer.fingerprint)
        return segment_key(*fingerprints, dtype, node)

    def missing(self, plan: PromptPlan) -> list[Node]:
        """The nodes of `plan` whose states are not stored."""
        return [node for node in plan.nodes if not self.is_stored(node)]

    def encode_schema(self, name: str, progress: Progress | None = None) -> int:
        """Encode all states that prompts of a schema can use and the store lacks; the tokens."""
        return self._ensure(self.schemas[name].usable, progress)[1]

    def encode(self, plan: PromptPlan, progress: Progress | None = None) -> int:
        """Encode what `plan` needs and the store lacks; the tokens encoded."""
        return self._ensure(plan.nodes, progress)[1]

    def _ensure(
        self, nodes: Sequence[Node], progress: Progress | None = None
    ) -> tuple[dict[Node, KVSegment], int]:
        """The segments of `nodes`, in which each comes after its context; the tokens encoded."""
        segments: dict[Node, KVSegment] = {}
        encoded, scratch = 0, self.model.transformer.new_cache()
        for node in nodes:
            key = self.key_of(node)
            segment = self.store.get(key)
            if segment is None:
                context = [segments[seen] for seen in node.context]
                tell = (lambda n, path=node.path: progress(path, n)) if progress else None
                segment = encode(self.model.transformer, node, context, scratch, tell)
                self.store.put(key, segment)
                encoded += len(node.tokens)
                log.debug("encoded %s: %d tokens at %d", node.path, len(node.tokens), node.start)
            segments[node] = segment
        return segments, encoded

    def prefill(
        self, prompt: str | bytes | Prompt | PromptPlan, *, progress: Progress | None = None
    ) -> Prefilled:
        """Bring the prompt's modules together and compute its fresh tokens."""
        plan = prompt if isinstance(prompt, PromptPlan) else self.plan(prompt)
        started = time.perf_counter()
        segments, encoded = self._ensure(plan.nodes, progress)
        seconds = time.perf_counter() - started if encoded else 0.0
        self._latest = None
        copied = self._buffer.bring(placed_segments(plan, segments), plan.num_fresh)
        logits = prefill(self.model.transformer, self._buffer, *fresh_tokens(plan))
        usage = Usage(plan.num_cached, plan.num_fresh, encoded)
        self._latest = Prefilled(plan, logits, usage, seconds, copied)
        return self._latest

    def forget_buffer(self) -> None:
        """Empty the warm buffer: the next prompt copies all of its modules anew."""
        self._latest = None
        self._buffer.clear()

    def stream(
        self,
        prompt: str | bytes | Prompt,
        *,
        max_tokens: int = 128,
        sampling: Sampling | None = None,
    ) -> Iterator[Delta]:
        """The answer piece by piece; the pieces' texts together are the whole text.

        Finish or drop one stream before the next prompt: see `decode`.
        """
        check_max_tokens(max_tokens)
        return self.decode(self.prefill(prompt), max_tokens=max_tokens, sampling=sampling)

    def generate(
        self,
        prompt: str | bytes | Prompt,
        *,
        max_tokens: int = 128,
        sampling: Sampling | None = None,
    ) -> Completion:
        """The whole answer."""
        check_max_tokens(max_tokens)
        started = time.perf_counter()
        prefilled = self.prefill(prompt)
        first = finished = 0.0
        deltas = []
        for delta in self.decode(prefilled, max_tokens=max_tokens, sampling=sampling):
            finished = time.perf_counter()
            first = first or finished
            deltas.append(delta)
        tokens = tuple(delta.token for delta in deltas if delta.token is not None)
        reason = deltas[-1].finish_reason
        assert reason is not None
        return Completion(
            "".join(delta.text for delta in deltas),
            tokens,
            reason,
            replace(prefilled.usage, completion_tokens=len(tokens)),
            Timings(first - started, prefilled.encode_seconds, finished - first),
            prefilled.plan,
        )

    def decode(
        self, prefilled: Prefilled, *, max_tokens: int = 128, sampling: Sampling | None = None
    ) -> Iterator[Delta]:
        """The answer to the prompt that was prefilled last.

        Raises `RuntimeError` once another prompt has taken the buffer that the answer lives in.
        """
        answer = Answer(
            self.model,
            self._buffer,
            prefilled.plan.next_position,
            max_tokens=max_tokens,
            sampling=sampling,
        )
        deltas = decode(self.model.transformer, answer, prefilled.logits)
        if self._latest is prefilled:  # An earlier answer to it may lie behind the prompt.
            self._buffer.truncate(prefilled.usage.prompt_tokens)
        # Asked before each step, which would otherwise write into another answer's buffer.
        while self._latest is prefilled:
            if (delta := next(deltas, None)) is None:
                return
            yield delta
        raise RuntimeError("another prompt was started before this answer was finished")

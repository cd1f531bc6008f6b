"""One sequence being decoded: what it draws, where it ends, and the text that it has given out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from minillm.kv import KVCache
from minillm.sampling import Sampler, Sampling

if TYPE_CHECKING:
    from minillm.checkpoint import LoadedModel

FinishReason = Literal["stop", "length", "context"]
"""`stop`: the model ended, or wrote a stop string; `length`: `max_tokens` were generated;
`context`: the model's context is full."""


@dataclass(frozen=True)
class Delta:
    """A piece of an answer's text; the last one has no token and a `finish_reason`."""

    text: str
    token: int | None = None
    finish_reason: FinishReason | None = None


class StopStrings:
    """A text, piece by piece, up to the first of some strings, which is not given out.

    What may be the beginning of one is held back until it is known. Of two strings the one that
    ends first counts, of two that end together the longer: the same however the text is cut.

    >>> text = StopStrings(["END"])
    >>> [text.add(piece) for piece in ("one E", "N", "D two", " three")], text.found
    (['one ', '', '', ''], True)
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = (stops,) if isinstance(stops, str) else tuple(stops)  # One alone is one.
        if "" in self._stops:
            raise ValueError("a stop string is empty, expected some text")
        self._held = ""
        self.found = False

    def add(self, piece: str) -> str:
        """What can be given out now that `piece` has come."""
        if self.found:
            return ""
        text = self._held + piece
        starts = [(text.find(stop), stop) for stop in self._stops]
        ends = [(start + len(stop), start) for start, stop in starts if start >= 0]
        self.found = bool(ends)
        sure = min(ends)[1] if ends else len(text) - self._open(text)
        self._held = "" if self.found else text[sure:]
        return text[:sure]

    def finish(self) -> str:
        """What was held back of a text that goes on no further."""
        held, self._held = self._held, ""
        return held

    def _open(self, text: str) -> int:
        """Length of the longest end of `text` that a stop string begins with."""
        longest = max(map(len, self._stops), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0


class Answer:
    """An answer that grows by a token a step: its sampling, its ends and its text.

    The next token stands at `position`, behind what `base` and `cache` hold. `stop_ids` None are
    the tokenizer's. `prompt` are the ids that `repetition_penalty` counts besides the answer's.
    """

    def __init__(
        self,
        model: LoadedModel,
        cache: KVCache,
        position: int,
        *,
        max_tokens: int,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        stop_ids: frozenset[int] | None = None,
        base: KVCache | None = None,
        prompt: Sequence[int] = (),
    ) -> None:
        check_max_tokens(max_tokens)
        sampling, vocab_size = sampling or Sampling(), model.config.vocab_size
        if not isinstance(sampling, Sampling):
            raise TypeError(f"sampling is a {type(sampling).__name__}, expected a Sampling")
        if beyond := [id for id in sampling.logit_bias if not 0 <= id < vocab_size]:
            raise ValueError(f"logit_bias names token {beyond[0]}, the model has {vocab_size}")
        self.cache, self.base, self.position = cache, base, position
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._max_tokens, self._max_positions = max_tokens, model.config.max_positions
        self._stop_ids = model.tokenizer.stop_ids if stop_ids is None else stop_ids
        self._draw = Sampler(sampling, (id for id in prompt if id < vocab_size))
        self._bytes, self._text = model.tokenizer.stream(), StopStrings(stop)

    def take(self, logits: Tensor) -> list[Delta]:
        """Draw the next token from `logits` (V,); its text, and the end if there it ends.

        The token is known before the forward runs that takes it in. No character is ever cut.
        """
        token = self._draw(logits)
        if token in self._stop_ids:
            return [self._end("stop")]
        self.tokens.append(token)
        delta = Delta(self._text.add(self._bytes.add(token)), token)
        if self._text.found:
            return [delta, self._end("stop")]
        if len(self.tokens) == self._max_tokens:
            return [delta, self._end("length")]
        if self.position >= self._max_positions:
            return [delta, self._end("context")]
        return [delta]

    def _end(self, reason: FinishReason) -> Delta:
        self.finish_reason = reason
        text = self._text.add(self._bytes.finish()) + self._text.finish()
        return Delta(text, finish_reason=reason)


def check_max_tokens(max_tokens: int) -> None:
    """Raises `ValueError` for a number of tokens that no answer can have."""
    if not isinstance(max_tokens, int):
        raise TypeError(f"max_tokens is a {type(max_tokens).__name__}, expected an int")
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}, expected at least 1")

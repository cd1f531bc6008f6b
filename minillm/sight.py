"""What the queries of a forward look at, cut into blocks of scores: worked out once for all layers.

Runs that share a base lie in one block. The base's keys meet the queries of all of them in one
product; beside it each run's queries meet the keys of its own cache:

              base       own
    run 1   ████████   ███░░      ░ padding
    run 2   ████████   █████
    run 3   ████████   ██░░░

One softmax over a row, and the same rectangles the other way round for the values: exact, and no
partial results to be merged (the idea is Hydragen's, Juravsky et al. 2024, arXiv 2402.05099). Runs
that suit the flash kernel better are blocks by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minillm.flash import FlashBlock, FlashPart
from minillm.kv import KVCache
from minillm.sizes import Sizes
from minillm.visibility import Visibility


@dataclass(frozen=True)
class Queries:
    """The queries of one run. They look at the keys of `base`, if any, and then of `cache`.

    `visibility` and `bias` (H, S) are over both; so is the softmax.
    """

    visibility: Visibility
    cache: KVCache
    base: KVCache | None = None
    bias: Tensor | None = None

    @property
    def num_tokens(self) -> int:
        return self.visibility.mask.shape[0]


@dataclass(frozen=True)
class Part:
    """A rectangle of a block: `rows` of all queries by the `states` (K, s, D), layer by layer.

    Of a product the rows may be those of turned queries. `scores` is its place in the scratch
    memory. A sum with `adds` set is added to what an earlier part left in these rows.
    """

    rows: slice
    states: tuple[Tensor, ...]
    scores: Tensor
    adds: bool = False


@dataclass(frozen=True)
class Block:
    """Scores that are computed together: `scores` is (rows, keys), or (K, rows, keys).

    `heads` are the key/value heads one by one, or all. `padding` has keys that some rows lack.
    `biases` are what to add where; `hidden` (tokens, m) is added to the last m keys.
    """

    scores: Tensor
    heads: Sequence[int | slice]
    products: Sequence[Part]
    sums: Sequence[Part]
    padding: Tensor | None
    biases: Sequence[tuple[Tensor, Tensor]]
    hidden: tuple[Tensor, Tensor] | None


class Sight:
    """The blocks of a forward's runs, in the order of their tokens.

    A block looks at the keys up to the last one that any of its queries sees, and masks only the
    columns that some of them do not see: for ordinary text after a cached prefix that is a small
    triangle. `dtype` is that of the scores: a bias over many positions needs a wider one than
    bfloat16. The caches must not grow as long as this is used.

    `turned` are the queries that are wanted once more, behind all others, turned for positions
    smaller by a distance: (token, distance), for the stretches of keys that lie as stored.
    """

    def __init__(
        self,
        runs: Sequence[Queries],
        kv_heads: int,
        group: int,
        dtype: torch.dtype,
        sizes: Sizes,
    ) -> None:
        self.kv_heads, self.group, self._dtype, self._sizes = kv_heads, group, dtype, sizes
        self._device = runs[0].visibility.mask.device
        step = max(1, sizes.rows // group)
        stacks = _stacked(_pieces(runs, self._step), step)
        explicit = [stack for stack in stacks if not self._is_flash(stack)]
        size = max(map(self._num_scores, explicit), default=0)
        self._scratch = torch.empty(size, dtype=dtype, device=self._device)
        self.num_tokens = sum(run.num_tokens for run in runs)
        self.turned: list[tuple[int, int]] = []
        self.flash = [self._flash(stack[0]) for stack in stacks if self._is_flash(stack)]
        self.blocks = [self._block(stack) for stack in explicit]

    def _suits_flash(self, run: Queries, num_tokens: int) -> bool:
        if self._device.type != "cpu":
            return False
        if num_tokens == 1 and run.base is None and run.bias is None and self.group > 1:
            has_few_keys = run.cache.num_slots <= self._sizes.step_keys
            if has_few_keys and len(run.cache.stretches()) == 1:
                return True
        is_plain = run.bias is None or self.group == 1
        return is_plain and num_tokens * self.group >= self._sizes.flash

    def _step(self, run: Queries) -> int:
        """Tokens of a run in a piece, at most."""
        is_flash, sizes = self._suits_flash(run, run.num_tokens), self._sizes
        return max(1, (sizes.flash_rows if is_flash else sizes.rows) // self.group)

    def _is_flash(self, stack: list[_Piece]) -> bool:
        return len(stack) == 1 and self._suits_flash(stack[0].run, stack[0].num_tokens)

    def _all_heads(self, stack: list[_Piece]) -> bool:
        num_scores = _area(stack) * self.group * self.kv_heads
        is_small = len(stack) > 1 or stack[0].num_tokens * self.group <= self._sizes.few
        has_few_keys = max(piece.columns for piece in stack) <= self._sizes.keys
        return is_small and has_few_keys and num_scores <= self._sizes.small

    def _num_scores(self, stack: list[_Piece]) -> int:
        heads = self.kv_heads if self._all_heads(stack) else 1
        return heads * self.group * _area(stack)

    def _block(self, stack: list[_Piece]) -> Block:
        K, G = self.kv_heads, self.group
        first, columns = stack[0].first, max(piece.columns for piece in stack)
        tokens = sum(piece.num_tokens for piece in stack)
        shape = (K, tokens * G, columns) if self._all_heads(stack) else (tokens * G, columns)
        scores = self._scratch[: math.prod(shape)].view(shape)
        by_token = scores.view(*shape[:-2], tokens, G, columns)

        base, shared = stack[0].run.base, stack[0].num_shared
        products, sums, biases = list[Part](), list[Part](), []
        if base is not None:
            rows, place = self._rows(first, tokens), scores[..., :shared]
            products += self._products(first, tokens, base, shared, place)
            sums.append(Part(rows, base.states(0, shared)[1], place))
        for piece in stack:
            start, stop = piece.first - first, piece.first - first + piece.num_tokens
            own = scores[..., start * G : stop * G, shared : piece.columns]
            rows, num_slots = self._rows(piece.first, piece.num_tokens), piece.columns - shared
            cache = piece.run.cache
            products += self._products(piece.first, piece.num_tokens, cache, num_slots, own)
            sums.append(Part(rows, cache.states(0, num_slots)[1], own, adds=base is not None))
            if piece.run.bias is not None:
                bias = piece.run.bias.view(K, 1, G, -1)[..., : piece.columns]
                biases.append((by_token[..., start:stop, :, : piece.columns], bias))
        return Block(
            scores,
            heads=[slice(None)] if self._all_heads(stack) else range(K),
            products=products,
            sums=sums,
            padding=scores[..., shared:] if any(p.columns < columns for p in stack) else None,
            biases=biases,
            hidden=self._hidden(stack, by_token),
        )

    def _rows(self, first: int, num_tokens: int) -> slice:
        return slice(first * self.group, (first + num_tokens) * self.group)

    def _products(
        self, first: int, num_tokens: int, cache: KVCache, num_slots: int, place: Tensor
    ) -> Iterator[Part]:
        """The scores of some tokens over the first slots of a cache."""
        for rows, start, stop in self._meetings(first, num_tokens, cache, num_slots):
            keys, _ = cache.states(start, stop)
            yield Part(rows, keys, place[..., start:stop])

    def _meetings(
        self, first: int, num_tokens: int, cache: KVCache, num_slots: int
    ) -> Iterator[tuple[slice, int, int]]:
        """The first slots of a cache, stretch by stretch, behind the rows of the queries that meet
        them: those of the tokens themselves, or turned ones."""
        for stretch in cache.stretches():
            stop = min(stretch.stop, num_slots)
            if stretch.start >= stop:
                break
            rows = self._rows(first, num_tokens)
            if stretch.distance:
                rows = self._rows(self.num_tokens + len(self.turned), num_tokens)
                self.turned += [(first + i, stretch.distance) for i in range(num_tokens)]
            yield rows, stretch.start, stop

    def _flash(self, piece: _Piece) -> FlashBlock:
        """The parts are cut where keys lie in another way, and where the first key is hidden."""
        parts, run, shared = list[FlashPart](), piece.run, piece.num_shared
        for cache, first, last in ((run.base, 0, shared), (run.cache, shared, piece.columns)):
            if cache is None:
                continue
            meetings = self._meetings(piece.first, piece.num_tokens, cache, last - first)
            for rows, start, stop in meetings:
                edge = min(max(piece.num_free - first, start), stop)
                for part in (slice(start, edge), slice(edge, stop)):
                    if part.start < part.stop:
                        states = cache.states(part.start, part.stop)
                        columns = slice(first + part.start, first + part.stop)
                        parts.append(FlashPart(rows, *states, *self._masks(piece, columns)))
        return FlashBlock(self._rows(piece.first, piece.num_tokens), parts)

    def _masks(self, piece: _Piece, columns: slice) -> tuple[Tensor | None, Tensor | None]:
        """What to add to the scores of a part, and the rows that see none of its keys."""
        mask = blind = None
        if columns.stop > piece.num_free:
            free = piece.num_free
            seen = piece.seen[:, columns.start - free : columns.stop - free]
            seen = seen.repeat_interleave(self.group, dim=0)
            mask = torch.zeros(1, 1, *seen.shape, dtype=self._dtype).masked_fill_(~seen, -math.inf)
            blind = ~seen.any(dim=1)
        if piece.run.bias is not None:
            bias = piece.run.bias[:, None, columns]
            mask = bias[None] if mask is None else mask + bias
        return mask, blind if blind is not None and blind.any() else None

    def _hidden(self, stack: list[_Piece], by_token: Tensor) -> tuple[Tensor, Tensor] | None:
        """The scores from the first key on that not all queries see, and -inf for those unseen."""
        columns = by_token.shape[-1]
        free = min((p.num_free for p in stack if p.seen.shape[1]), default=columns)
        if free == columns:
            return None
        hidden = torch.zeros(by_token.shape[-3], 1, columns - free, dtype=self._dtype)
        hidden = hidden.to(self._device)
        for piece in stack:
            start = piece.first - stack[0].first
            rows = hidden[start : start + piece.num_tokens, 0, piece.num_free - free :]
            rows[:, : piece.seen.shape[1]].masked_fill_(~piece.seen, -math.inf)
        return by_token[..., free:], hidden


@dataclass(frozen=True)
class _Piece:
    """Some queries of a run, from the forward's token `first` on, and the keys up to `columns`.

    `seen` is the mask of the last of these keys; those before them are seen by all.
    """

    run: Queries
    first: int
    seen: Tensor
    columns: int

    @property
    def num_tokens(self) -> int:
        return self.seen.shape[0]

    @property
    def num_free(self) -> int:
        return self.columns - self.seen.shape[1]

    @property
    def num_shared(self) -> int:
        return self.run.base.num_slots if self.run.base else 0


def _pieces(runs: Sequence[Queries], step: Callable[[Queries], int]) -> Iterator[_Piece]:
    """Each run's queries in pieces of equal size, at most its `step`."""
    first = 0
    for run in runs:
        mask, free = run.visibility.mask, run.visibility.num_free
        shared = run.base.num_slots if run.base else 0
        size = math.ceil(run.num_tokens / math.ceil(run.num_tokens / step(run)))
        for rows in torch.split(mask, size):
            seen = rows.any(dim=0).nonzero() if rows.shape[1] else rows
            columns = max(shared, free + int(seen[-1]) + 1 if seen.numel() else free)
            yield _Piece(run, first, rows[:, : columns - free], columns)
            first += len(rows)


def _stacked(pieces: Iterator[_Piece], step: int) -> list[list[_Piece]]:
    """Neighbouring pieces over the same base put together, unless it were mostly padding."""
    stacks = [[next(pieces)]]
    for piece in pieces:
        stack = [*stacks[-1], piece]
        has_room = sum(p.num_tokens for p in stack) <= step
        needed = sum(p.num_tokens * p.columns for p in stack)
        if piece.run.base is stack[0].run.base and has_room and _area(stack) <= 2 * needed:
            stacks[-1] = stack
        else:
            stacks.append([piece])
    return stacks


def _area(stack: list[_Piece]) -> int:
    return sum(piece.num_tokens for piece in stack) * max(piece.columns for piece in stack)

"""The laws of the runtime: 3 to 7. They know of prompts only where the engine takes part."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from checks import assert_same, continued, encoded, placed
from hypothesis import given
from hypothesis import strategies as st
from leaks import Oracle
from strategies import Case, ModelShape, cases, hot_model, model_shapes
from torch import Tensor

import minillm.generate
import minillm.kv
import minillm.model
import pml.encoder
from minillm.attention import attend, attend_explicit
from minillm.config import ModelConfig, RopeScaling
from minillm.kv import KVCache, KVSegment, Placed
from minillm.model import ForwardPlan, Run, Transformer
from minillm.rope import Rope, apply_rope
from minillm.sight import Queries, Sight
from minillm.sizes import WIDE, Sizes
from minillm.visibility import Visibility, by_matrix, by_position
from pml.context import Node, State
from pml.encoder import Encoder, Job
from pml.steps import finish


@given(cases(), st.integers(1, 5000))
def test_law_03_moved_as_a_whole(case: Case, distance: int) -> None:
    """Law 3: "all positions + c: the same logits (RoPE and ALiBi)"

    The oracle moved, and the engine's segments placed elsewhere with the fresh tokens behind
    them. Catches an absolute position that leaks in: a slot, a length, a bias taken from the wrong
    row, keys turned by the wrong distance or not at all.
    """
    moved = Oracle(case.plan)
    expected = moved.logits(case.model)
    moved.positions = moved.positions + distance
    assert_same(moved.logits(case.model), expected)

    elsewhere = [replace(one, origin=one.origin + distance) for one in placed(case)]
    assert_same(continued(case.model, elsewhere, case.plan, distance), expected)


@given(cases(), st.integers(-3000, 3000))
def test_law_04_a_moved_state_is_the_state_encoded_there(case: Case, distance: int) -> None:
    """Law 4: "a state encoded with its context at a and moved with it to b = encoded at b; turned
    by query = turned by key"

    Catches a rotation in the wrong direction, keys turned twice, values turned at all, and moved
    segments whose positions stay behind.
    """
    segments, scratch = encoded(case.cache, case.plan), Encoder(case.model)
    there: dict[State, KVSegment] = {}
    for state, segment in segments.items():
        moved = replace(state, origin=state.origin + distance)
        seen = Node(moved, moved.origin).context
        context = [Placed(there[node.state], node.start) for node in seen]
        (there[state],) = finish(scratch.encode([Job(moved, context)]))
        cache = case.model.new_cache()
        cache.bring([Placed(segment, moved.origin)])
        stop = moved.origin + len(state.tokens)
        assert cache.positions.tolist() == list(range(moved.origin, stop))
        for layer in range(case.model.config.num_layers):
            assert_same(cache.keys(layer), there[state].block[layer, 0])
            assert_same(cache.values(layer), there[state].block[layer, 1])


@st.composite
def ropes(draw: st.DrawFn) -> ModelConfig:
    """A configuration with a rotation of any kind that the runtime knows."""
    factor = draw(st.floats(1.5, 16))
    scaling = draw(
        st.sampled_from(
            (
                None,
                RopeScaling("linear", factor),
                RopeScaling("llama3", factor, original_max_positions=64),
                RopeScaling("yarn", factor, original_max_positions=64, attention_factor=1.2),
            )
        )
    )
    head_dim = draw(st.integers(2, 16))
    return replace(
        draw(model_shapes()).config(),
        position_scheme="rope",
        head_dim=head_dim,
        rotary_dim=2 * draw(st.integers(1, head_dim // 2)),
        rope_theta=draw(st.sampled_from((10.0, 10000.0, 500000.0))),
        rope_scaling=scaling,
    )


@given(st.data(), ropes())
def test_law_04_turned_by_query_is_turned_by_key(data: st.DataObject, config: ModelConfig) -> None:
    """The second half of law 4: q(p) · turned(k) = q(p - distance) · k, as attention scores.

    Catches keys whose channels that do not turn are lost when the others do, and yarn's factor
    applied once more each time that keys move.
    """
    rope, distance = Rope(config), data.draw(st.integers(-3000, 3000))
    position = data.draw(st.integers(0, 3000))
    q, k = _normal(data, 1, 1, config.head_dim), _normal(data, 1, 5, config.head_dim)
    by_key = _turned(rope, q, [position]) @ rope.turn(k, distance).transpose(1, 2)
    by_query = _turned(rope, q, [position - distance]) @ k.transpose(1, 2)
    assert_same(by_key, by_query)


@given(st.data(), model_shapes())
def test_law_04_turned_queries_and_turned_keys_in_a_forward(
    data: st.DataObject, shape: ModelShape
) -> None:
    """The same half of law 4 through a whole model: moved segments in a run's own cache and in its
    base, with a mask or without, prefill and then a step, keys turned at once, later or never, by
    explicit products or the flash kernel.

    Catches a stretch whose queries are turned for another one, turned twice (as query and as key)
    or not at all, keys that a decision in the middle of an answer leaves half turned, and (it once
    did not) a query that sees nothing of several stretches, merged to NaN.
    """
    model = hot_model(replace(shape, kind=data.draw(st.sampled_from(("llama", "falcon")))))
    stored = [_filled(model, data, torch.arange(8) + at).segment(0, 8) for at in (0, 3, 40)]
    moves = st.sampled_from((0, 3, 9, 100))
    placings = st.lists(st.tuples(st.sampled_from(stored), moves, st.integers(1, 8)), max_size=4)
    inside = [[Placed(s, s.origin + d, 0, e) for s, d, e in data.draw(placings)] for _ in range(3)]
    n, mask = data.draw(st.integers(1, 4)), None
    if data.draw(st.booleans()):
        S = n + sum(placed.num_tokens for placed in inside[0] + inside[1])
        mask = _visibility(data, n, S).full()
    ids, at = torch.arange(2 * n + 2), torch.arange(2 * n + 2) * 7 % 120
    sizes = replace(WIDE, flash=data.draw(st.sampled_from((1, WIDE.flash))))
    is_shared = data.draw(st.booleans())

    def logits(price: float, explicit: bool) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(minillm.kv, "STRETCH", price)
            patch.setattr(minillm.kv, "QUERY", 0.0)
            patch.setattr(minillm.model, "sizes_for", lambda *_: sizes)
            base, *own = (model.new_cache() for _ in inside)
            for cache, placed in zip((base, *own), inside, strict=True):
                cache.bring(placed)
            bases = (base, base if is_shared else None)
            runs = [Run(own[0], n, mask, base), Run(own[1], n, base=bases[1])]
            first = model(ids[: 2 * n], at[: 2 * n], ForwardPlan(runs, range(2 * n), explicit))
            steps = [Run(cache, 1, None, base) for cache, base in zip(own, bases, strict=True)]
            step = ForwardPlan(steps, [0, 1], explicit)
            return torch.cat((first, model(ids[2 * n :], at[2 * n :], step)))

    expected = logits(0.0, explicit=True)
    one_key = shape.kv_heads * shape.head_dim
    for price in (0.0, float("inf"), 4.0 * one_key, 6.0 * one_key):
        assert_same(logits(price, explicit=False), expected)


@given(cases(), st.integers(1, 5))
def test_law_05_chunks_of_an_engine(case: Case, size: int) -> None:
    """Law 5: "any chunking of a sequence into forwards gives the same logits", for prefill and
    encoding.

    Catches a chunk that does not see the one before it, or that sees its own future.
    """
    expected = case.cache.prefill(case.plan).logits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minillm.generate, "CHUNK", size)
        patch.setattr(pml.encoder, "CHUNK", size)
        assert_same(case.cold().prefill(case.plan).logits, expected)


@given(st.data(), model_shapes())
def test_law_05_prefill_then_decode_is_one_pass(data: st.DataObject, shape: ModelShape) -> None:
    """Law 5: "any chunking of a sequence into forwards gives the same logits; prefill then decode =
    one pass"

    All logits of a sequence with gaps in its positions, once as one pass under a matrix and once in
    pieces. Catches a single-token step that takes the wrong row of a mask or a bias, and a buffer
    that loses tokens when it grows.
    """
    model = hot_model(shape)
    steps = data.draw(st.lists(st.sampled_from((1, 1, 2, 3, 50)), min_size=2, max_size=14))
    positions = torch.tensor(steps).cumsum(0)
    tokens = torch.tensor(data.draw(st.lists(st.integers(0, 260), min_size=len(steps))))
    tokens = tokens[: len(steps)]
    causal = positions[None, :] <= positions[:, None]
    run = Run(model.new_cache(), len(tokens), causal)
    whole = model(tokens, positions, ForwardPlan([run], range(len(tokens)), explicit=True))

    cache, pieces, start = model.new_cache(), [], 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minillm.kv, "HEADROOM", 0)  # so that it grows again and again
        while start < len(tokens):
            size = data.draw(st.integers(1, len(tokens) - start))
            piece = slice(start, start + size)
            forward = ForwardPlan([Run(cache, size)], range(size))
            pieces.append(model(tokens[piece], positions[piece], forward))
            start += size
    assert_same(torch.cat(pieces), whole)


@given(st.data(), model_shapes())
def test_law_05_runs_packed_together_are_alone(data: st.DataObject, shape: ModelShape) -> None:
    """Law 5 along the other axis: runs in one forward = each in a forward of its own.

    Catches tokens of one sequence that see, or write over, those of another.
    """
    model, lengths = (
        hot_model(shape),
        data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=4)),
    )
    total = sum(lengths)
    tokens = torch.tensor(data.draw(st.lists(st.integers(0, 260), min_size=total)))[:total]
    positions = torch.cat([torch.arange(length) + 7 * i for i, length in enumerate(lengths)])
    runs = [Run(model.new_cache(), length) for length in lengths]
    together = model(tokens, positions, ForwardPlan(runs, range(total)))
    alone, start = [], 0
    for length in lengths:
        own = slice(start, start + length)
        forward = ForwardPlan([Run(model.new_cache(), length)], range(length))
        alone.append(model(tokens[own], positions[own], forward))
        start += length
    assert_same(together, torch.cat(alone))


@given(st.data(), model_shapes(), st.booleans())
def test_law_12_a_base_in_a_batch_is_a_copy_for_each(
    data: st.DataObject, shape: ModelShape, explicit: bool
) -> None:
    """Law 12: "a batch = its prompts one by one, to rounding; a shared module is stored once"

    Runs of several lengths, some over one of two bases, at positions before, between and behind the
    base's, then a step of one token each; beside each run alone over a cache that holds base and
    all. Catches a base seen by the wrong run or at the wrong positions, and one that is written to.
    """
    model, steps = hot_model(shape), data.draw(st.integers(1, 2))
    positions = torch.randperm(60, generator=torch.Generator().manual_seed(shape.seed))
    bases = [None, *(_filled(model, data, positions[at : at + 8]) for at in (0, 10))]
    before = [base and _held(base) for base in bases]
    chosen = [data.draw(st.sampled_from(bases)) for _ in range(data.draw(st.integers(1, 4)))]
    together = [model.new_cache() for _ in chosen]
    alone = [model.new_cache() if base is None else _copy(model, base) for base in chosen]
    for step in range(steps):
        sizes = [1 if step else data.draw(st.integers(1, 6)) for _ in chosen]
        at = [positions[20 + 8 * step : 20 + 8 * step + size] for size in sizes]
        ids = torch.tensor(data.draw(st.lists(st.integers(0, 260), min_size=sum(sizes))))
        runs = [Run(*run) for run in zip(together, sizes, [None] * 4, chosen, strict=False)]
        plan = ForwardPlan(runs, range(sum(sizes)), explicit=explicit)
        found = model(ids[: sum(sizes)], torch.cat(at), plan).split(sizes)
        texts = ids[: sum(sizes)].split(sizes)
        for cache, text, where, logits in zip(alone, texts, at, found, strict=True):
            whole = ForwardPlan([Run(cache, len(text))], range(len(text)), explicit=True)
            assert_same(logits, model(text, where, whole))
    for base, held in zip(bases[1:], before[1:], strict=True):
        assert torch.equal(_held(base), held)


@given(cases(), st.integers(1, 600), st.integers(1, 5))
def test_law_05_states_encoded_together_are_those_encoded_alone(
    case: Case, together: int, size: int
) -> None:
    """Law 5 for the encoder: many states in a forward = one to a forward, whatever fits into one
    and however they are cut.

    Catches states that see one another, a context that is taken to be common to all and is not,
    and a state that is encoded before what it sees.
    """
    states, cache = case.cache.schemas["s"].usable, case.cold()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pml.encoder, "TOGETHER", together)
        patch.setattr(pml.encoder, "CHUNK", size)
        assert cache.encode_schema("s").encoded == states
    alone, _ = case.cold().segments(states)
    for state, segment in cache.segments(states)[0].items():
        assert_same(segment.block, alone[state].block)
        assert torch.equal(segment.offsets, alone[state].offsets)
        assert segment.origin == alone[state].origin


def _filled(model: Transformer, data: st.DataObject, positions: Tensor) -> KVCache:
    """A cache that holds random tokens at `positions`."""
    cache, tokens = model.new_cache(), data.draw(st.lists(st.integers(0, 260), min_size=8))
    model(torch.tensor(tokens[:8]), positions, ForwardPlan([Run(cache, 8)], []))
    return cache


def _copy(model: Transformer, cache: KVCache) -> KVCache:
    """Another cache with the same states at the same positions."""
    segment, copy = cache.segment(0, cache.num_slots), model.new_cache()
    copy.bring([Placed(segment, segment.origin)])
    return copy


def _held(cache: KVCache) -> Tensor:
    return cache.segment(0, cache.num_slots).block


@given(st.data(), ropes(), st.integers(0, 4000), st.integers(0, 4000), st.integers(0, 4000))
def test_law_06_scores_depend_on_differences(
    data: st.DataObject, config: ModelConfig, query: int, key: int, distance: int
) -> None:
    """Law 6: "attention scores after RoPE depend on position differences only; rotation keeps
    norms"

    (yarn's `attention_factor` scales the turned channels, and their norm with them.) Catches a
    wrong pairing of channels, a sign, and a frequency that differs between queries and keys.
    """
    rope, D, R = Rope(config), config.head_dim, config.rotary_dim
    q, k = _normal(data, 1, 1, D), _normal(data, 1, 1, D)
    here = _turned(rope, q, [query]) @ _turned(rope, k, [key]).transpose(1, 2)
    there = _turned(rope, q, [query + distance]) @ _turned(rope, k, [key + distance]).mT
    scale = float(q.norm() * k.norm())
    assert abs(float(here - there)) <= 1e-9 * scale
    turned = _turned(rope, k, [key])
    assert_same(turned[..., :R].norm(), rope.scale * k[..., :R].norm())
    assert torch.equal(turned[..., R:], k[..., R:])


DTYPES = {
    # What rounding may do to a weighted mean of values of size 1, at 40 keys.
    torch.float64: 1e-13,
    torch.float32: 1e-5,
    torch.bfloat16: 0.06,
}


@given(st.data(), st.integers(1, 4), st.integers(1, 4), st.sampled_from(list(DTYPES)))
def test_law_07_readable_attention_equals_fast_attention(
    data: st.DataObject, kv_heads: int, group: int, dtype: torch.dtype
) -> None:
    """Law 7: "the readable attention = the fast attention, for all head ratios, masks and dtypes"

    One to four runs in a forward, with and without bases that some of them share, any mask that
    shows every query a key, with and without a bias, and with so few rows to a block that the
    queries are cut into several. Catches query heads folded in the wrong order, a block's mask or
    bias cut at the wrong column, padding that is seen, a base's part that is lost or counted twice,
    and scratch memory that is read back.
    """
    D, heads = data.draw(st.sampled_from((4, 8))), kv_heads * group
    has_bias = data.draw(st.booleans())
    bases = [None, *(_cache(data, kv_heads, D, dtype, size) for size in (1, 7))]
    runs, queries = [], []
    for _ in range(data.draw(st.integers(1, 4))):
        n, base = data.draw(st.integers(1, 12)), data.draw(st.sampled_from(bases))
        cache = _cache(data, kv_heads, D, dtype, data.draw(st.integers(n, 40)))
        S = cache.num_slots + (base.num_slots if base else 0)
        bias = _normal(data, heads, S).to(dtype) if has_bias else None
        runs.append(Queries(_visibility(data, n, S), cache, base, bias))
        queries.append(_normal(data, n, heads, D).to(dtype))
    sizes = Sizes(
        rows=data.draw(st.integers(1, 120)),
        flash=data.draw(st.sampled_from((1, 9, 192, math.inf))),
        flash_rows=data.draw(st.integers(1, 120)),
        step_keys=data.draw(st.sampled_from((0, 20, 2048))),
        few=data.draw(st.sampled_from((0, 24))),
        small=data.draw(st.sampled_from((0, 1000, 1 << 20))),
        keys=data.draw(st.sampled_from((10, math.inf))),
    )
    together = attend(torch.cat(queries), 0, Sight(runs, kv_heads, group, dtype, sizes))
    for q, run, fast in zip(queries, runs, together.split([len(q) for q in queries]), strict=True):
        caches = [cache for cache in (run.base, run.cache) if cache]
        k = torch.cat([cache.keys(0) for cache in caches], dim=1)
        v = torch.cat([cache.values(0) for cache in caches], dim=1)
        wide = None if run.bias is None else run.bias.double()
        exact, weights = attend_explicit(q.double(), k.double(), v.double(), run.visibility, wide)
        readable, _ = attend_explicit(q, k, v, run.visibility, run.bias)
        assert_same(weights.sum(dim=-1), torch.ones(heads, len(q), dtype=torch.float64))
        assert not weights.masked_fill(run.visibility.full(), 0).any()
        assert fast.dtype == readable.dtype == dtype
        largest = DTYPES[dtype] * float(v.abs().max())
        for output in (fast, readable):
            assert float((output.double() - exact).abs().max()) <= largest


def _cache(data: st.DataObject, kv_heads: int, D: int, dtype: torch.dtype, size: int) -> KVCache:
    """`size` slots of one layer, filled at random, with memory behind them that holds NaN."""
    config = replace(
        ModelShape(1, 1, 1, D, True, False, "mpt", 0).config(),
        num_heads=kv_heads,
        num_kv_heads=kv_heads,
    )
    cache = KVCache(config, dtype, capacity=size + 3)
    for states in cache.states(0, size + 3):
        states[0].fill_(float("nan"))
        states[0][:, :size] = _normal(data, kv_heads, size, D).to(dtype)
    cache.append(torch.arange(size))
    return cache


def _visibility(data: st.DataObject, n: int, S: int) -> Visibility:
    """Any matrix in which every query sees a key; often one by positions, in any order."""
    random = data.draw(st.randoms(use_true_random=False))
    if data.draw(st.booleans()):
        positions = torch.tensor(random.sample(range(3 * S), S))
        return by_position(positions[S - n :], positions)
    mask = torch.tensor([[random.random() < 0.5 for _ in range(S)] for _ in range(n)])
    mask[torch.arange(n), torch.tensor([random.randrange(S) for _ in range(n)])] = True
    return by_matrix(mask)


def _normal(data: st.DataObject, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**16)))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _turned(rope: Rope, x: Tensor, positions: list[int]) -> Tensor:
    """`x` (1, n, D) with token j turned for the j-th position."""
    cos, sin = rope.tables(torch.tensor(positions), torch.float64)
    return apply_rope(x, cos[:, 0], sin[:, 0])

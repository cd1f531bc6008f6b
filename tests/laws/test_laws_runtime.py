"""The laws of the runtime: 3 to 7. They know of prompts only where the engine takes part."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from checks import assert_same, continued, encoded, placed
from hypothesis import given
from hypothesis import strategies as st
from leaks import Oracle
from strategies import Case, ModelShape, cases, hot_model, model_shapes
from torch import Tensor

import minillm.attention
import minillm.generate
import pml.encoder
from minillm.attention import Sight, attend, attend_explicit
from minillm.config import ModelConfig, RopeScaling
from minillm.kv import KVSegment, Placed
from minillm.model import ForwardPlan, Run
from minillm.rope import Rope, apply_rope
from minillm.visibility import Visibility, by_matrix, by_position
from pml.context import Node, State
from pml.encoder import encode


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
    segments, scratch = encoded(case.cache, case.plan), case.model.new_cache()
    there: dict[State, KVSegment] = {}
    for state, segment in segments.items():
        moved = replace(state, origin=state.origin + distance)
        seen = Node(moved, moved.origin).context
        context = [Placed(there[node.state], node.start) for node in seen]
        there[state] = encode(case.model, moved, context, scratch)
        cache = case.model.new_cache()
        cache.bring([Placed(segment, moved.origin)])
        stop = moved.origin + len(state.tokens)
        assert cache.positions.tolist() == list(range(moved.origin, stop))
        for layer in range(case.model.config.num_layers):
            assert_same(cache.keys(layer), there[state].block[layer, 0])
            assert_same(cache.values(layer), there[state].block[layer, 1])


@given(st.data(), model_shapes())
def test_law_04_turned_by_query_is_turned_by_key(data: st.DataObject, shape: ModelShape) -> None:
    """The second half of law 4: q(p) · turned(k) = q(p - distance) · k, as attention scores."""
    config = replace(shape.config(), position_scheme="rope")
    rope, distance = Rope(config), data.draw(st.integers(-3000, 3000))
    position = data.draw(st.integers(0, 3000))
    q, k = _normal(data, 1, 1, config.head_dim), _normal(data, 1, 5, config.head_dim)
    by_key = _turned(rope, q, [position]) @ rope.turn(k, distance).transpose(1, 2)
    by_query = _turned(rope, q, [position - distance]) @ k.transpose(1, 2)
    assert_same(by_key, by_query)


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

    With any mask that shows every query a key, with and without a bias, and with so few rows to
    a block that the queries are cut into several. Catches query heads folded in the wrong order,
    a block's mask or bias cut at the wrong column, and scratch memory that is read back.
    """
    n, D = data.draw(st.integers(1, 12)), data.draw(st.sampled_from((4, 8)))
    S, heads = data.draw(st.integers(n, 40)), kv_heads * group
    q = _normal(data, n, heads, D).to(dtype)
    k, v = _normal(data, kv_heads, S, D).to(dtype), _normal(data, kv_heads, S, D).to(dtype)
    bias = _normal(data, heads, S).to(dtype) if data.draw(st.booleans()) else None
    visibility = _visibility(data, n, S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minillm.attention, "ROWS", data.draw(st.integers(1, 12)))
        fast = attend(q, k, v, Sight(visibility, group, dtype), bias)
    wide = None if bias is None else bias.double()
    exact, weights = attend_explicit(q.double(), k.double(), v.double(), visibility, wide)
    readable, _ = attend_explicit(q, k, v, visibility, bias)
    assert_same(weights.sum(dim=-1), torch.ones(heads, n, dtype=torch.float64))
    assert not weights.masked_fill(visibility.full(), 0).any()
    assert fast.dtype == readable.dtype == dtype
    for output in (fast, readable):
        assert float((output.double() - exact).abs().max()) <= DTYPES[dtype] * float(v.abs().max())


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

"""Random small models, schemas and the prompts that fit them, for the laws and other tests.

models()              2-3 layers of any family in float64, hot enough that a wrong mask shows
tokenizers()          bytes, with and without BOS and a header
schemas()             a tree of everything that the language has, and scaffolds over it
prompts(schema)       a prompt that `check_prompt` accepts for it; `packed`: with modules repeated
cases()               all of these together, as a `PromptCache` and a plan
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from random import Random
from typing import get_args

import torch
from hypothesis import strategies as st
from hypothesis.vendor.pretty import RepresentationPrinter

from minillm.checkpoint import LoadedModel
from minillm.config import FamilyConfig, ModelConfig, PositionScheme, RopeScaling
from minillm.families.falcon import FalconConfig
from minillm.families.llama import LlamaConfig
from minillm.families.mpt import MPTConfig
from minillm.model import Transformer
from minillm.tokenizer import ByteTokenizer, Tokenizer
from pml.engine import PromptCache
from pml.errors import PMLError
from pml.nodes import (
    Argument,
    LayoutName,
    ModulePath,
    Prompt,
    PromptImport,
    PromptModule,
    PromptNode,
    PromptParameter,
    PromptRole,
    PromptText,
    PromptUnion,
    Role,
    Scaffold,
    Schema,
    SchemaNode,
    children_of,
    parameters_of,
    places_of,
)
from pml.plan import PromptPlan
from pml.recompute import Deviation, Recompute
from pml.schema import scaffold_paths
from pml.states import ATTENTIONS
from pml.store import ModuleStore
from pml.writer import write_prompt, write_schema

# Models


Kind = tuple[str, PositionScheme, Callable[[bool], FamilyConfig]]

KINDS: dict[str, Kind] = {
    "llama": ("llama", "rope", lambda biased: LlamaConfig(biased, biased)),
    "falcon": ("falcon", "rope", lambda biased: FalconConfig("one norm", biased)),
    "falcon, two norms": ("falcon", "rope", lambda biased: FalconConfig("two norms", biased)),
    "falcon, ALiBi": ("falcon", "alibi", lambda biased: FalconConfig("sequential", biased)),
    "mpt": ("mpt", "alibi", lambda biased: MPTConfig(biased)),
    "mpt, all options": ("mpt", "alibi", lambda biased: MPTConfig(biased, 2.0, "head", 0.5, 0.8)),
}
"""Families, how they know of positions, and their options for linear layers with a bias or not."""

ROTATIONS: dict[str, tuple[int, RopeScaling | None]] = {
    "plain": (0, None),
    "partial": (2, None),
    "linear": (0, RopeScaling("linear", 2.0)),
    "llama3": (0, RopeScaling("llama3", 4.0, original_max_positions=64)),
    "yarn": (0, RopeScaling("yarn", 4.0, original_max_positions=64, attention_factor=1.2)),
    "yarn, partial": (2, RopeScaling("yarn", 2.0, original_max_positions=32)),
}
"""RoPE's kinds: how many channels of a head do not turn, and how the frequencies are stretched."""


@dataclass(frozen=True)
class ModelShape:
    """What is drawn of a model; equal shapes are the same model, made once."""

    layers: int
    kv_heads: int
    group: int
    head_dim: int
    tied: bool
    biased: bool
    kind: str
    seed: int
    rotation: str = "plain"
    """One of `ROTATIONS`; of no meaning under ALiBi."""

    def config(self, max_positions: int = 4096) -> ModelConfig:
        family, scheme, options = KINDS[self.kind]
        # Of a single head the slope is 1/256: a position more or less would hardly show.
        group = 2 if scheme == "alibi" and self.kv_heads == self.group == 1 else self.group
        unturned, scaling = ROTATIONS[self.rotation if scheme == "rope" else "plain"]
        return ModelConfig(
            family=family,
            vocab_size=261,
            hidden_size=16,
            intermediate_size=24,
            num_layers=self.layers,
            num_heads=self.kv_heads * group,
            num_kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            max_positions=max_positions,
            norm_eps=1e-5,
            position_scheme=scheme,
            tie_embeddings=self.tied,
            family_config=options(self.biased),
            rope_theta=100.0,
            rotary_dim=self.head_dim - unturned,
            rope_scaling=scaling,
        )


def model_shapes() -> st.SearchStrategy[ModelShape]:
    return st.builds(
        ModelShape,
        layers=st.integers(2, 3),
        kv_heads=st.integers(1, 4),
        group=st.integers(1, 3),
        head_dim=st.sampled_from((4, 6, 8)),
        tied=st.booleans(),
        biased=st.booleans(),
        kind=st.sampled_from(("llama", *KINDS)),
        seed=st.integers(0, 9),
        rotation=st.sampled_from(("plain", *ROTATIONS)),
    )


def models() -> st.SearchStrategy[Transformer]:
    return model_shapes().map(hot_model)


DEVICE = torch.device("cpu")
"""Where models are made: `tests/laws/test_laws_on_gpu.py` takes the other one."""


def hot_model(shape: ModelShape) -> Transformer:
    """A random model in float64 whose logits show what its attention saw.

    Scores have a deviation of about 1, so that no key takes all the weight and none is lost; what
    attention and MLP add is as large as what they add it to; logits have a deviation of about 4.
    `tests/laws/test_sensitivity.py` shows that this is enough.
    """
    return _made(shape, DEVICE)


@lru_cache(maxsize=256)
def _made(shape: ModelShape, device: torch.device) -> Transformer:
    model = Transformer(shape.config()).double()
    width = 2 * model.config.num_kv_heads * model.config.head_dim
    header = torch.empty(shape.layers, HEADER, width, dtype=torch.float64)
    model.header = torch.nn.Parameter(header)
    return hot(model, shape.seed).to(device)


def hot(model: Transformer, seed: int) -> Transformer:
    """`model` with the weights of `hot_model`, drawn from `seed`."""
    random = torch.Generator().manual_seed(seed)
    config = model.config
    for name, weight in model.named_parameters():
        drawn = torch.randn(weight.shape, generator=random, dtype=torch.float64)
        if name.endswith("bias"):
            drawn = 0.3 * drawn
        elif "norm" in name:
            drawn = 1 + 0.1 * drawn
        elif name == "embedding.weight":
            pass  # Tied, it is the output layer too, and gives logits of the right size.
        elif name == "output.weight":
            drawn = drawn * (4 / math.sqrt(config.hidden_size))
        elif name.endswith("attention.output.weight"):
            drawn = drawn * (3 / math.sqrt(weight.shape[1]))
        else:
            drawn = drawn / math.sqrt(weight.shape[1])
        weight.data.copy_(drawn)
    return model.eval().requires_grad_(False)


def loaded(model: Transformer, tokenizer: Tokenizer, fingerprint: str = "m") -> LoadedModel:
    return LoadedModel("small", model.config, model, tokenizer, fingerprint)


HEADER = 2
"""The tokens of the header that every random model has; some tokenizers take it."""


@lru_cache(maxsize=4)
def byte_tokenizer(bos: bool, header: bool = False) -> ByteTokenizer:
    tokenizer = ByteTokenizer(bos=bos)
    first = tokenizer.vocab_size
    return tokenizer.with_header(tuple(range(first, first + HEADER)) if header else ())


def tokenizers() -> st.SearchStrategy[ByteTokenizer]:
    return st.builds(byte_tokenizer, st.booleans(), st.booleans())


# Schemas

LAYOUTS: tuple[LayoutName, ...] = get_args(LayoutName)
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
NAMES = ("a", "b", "c", "d", "e", "x y", "a/b")
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ012345 \n<&é"


def texts(longest: int, shortest: int = 1) -> st.SearchStrategy[str]:
    return st.text(ALPHABET, min_size=shortest, max_size=longest)


@dataclass
class _Left:
    """How much may still be drawn, so that schemas stay small whatever their form."""

    nodes: int
    parameters: bool


@st.composite
def schemas(draw: st.DrawFn, parameters: bool = True, nodes: int = 14) -> Schema:
    """A schema `s` with up to `nodes` modules, texts, parameters, unions and role tags, and with
    scaffolds over some of the modules."""
    left, names = _Left(nodes, parameters), _Names()
    children = _children(draw, left, names, in_role=False, depth=0, most=5)
    if names.modules and draw(st.integers(0, 5)) > 0:  # few schemas without anything to import
        where = draw(st.integers(0, len(children)))
        module = _module(draw, left, names, True, False, 0)
        children = (*children[:where], module, *children[where:])
    schema = Schema("s", children=children)
    words = scaffold_words(schema)
    count = draw(st.sampled_from((0, 1, 1, 2))) if words else 0
    return replace(schema, scaffolds=tuple(_scaffold(draw, schema, words) for _ in range(count)))


def scaffold_words(schema: Schema) -> list[str]:
    """The paths of modules as a scaffold writes them, as far as it can and they are no others'."""
    words = Counter("/".join(path) for path in module_paths(schema))
    return [word for word, times in words.items() if times == 1 and " " not in word]


def _scaffold(draw: st.DrawFn, schema: Schema, words: list[str]) -> Scaffold:
    """A scaffold of some modules that one prompt can import together."""
    scaffold = Scaffold(())
    for word in draw(st.lists(st.sampled_from(words), min_size=1, max_size=4, unique=True)):
        more = Scaffold((*scaffold.modules, word))
        with suppress(PMLError):  # Another member of a union is in it.
            scaffold_paths(schema, more)
            scaffold = more
    return scaffold


def module_paths(owner: Schema | PromptModule, path: ModulePath = ()) -> Iterator[ModulePath]:
    """The paths of all named modules, in the schema's order."""
    for name, module in children_of(owner).items():
        yield (*path, name)
        yield from module_paths(module, (*path, name))


class _Names:
    """The names that one owner has not given yet."""

    def __init__(self) -> None:
        self.modules = list(NAMES)
        self.parameters = ["p", "q", "a city"]


_KINDS = ("text", "text", "module", "module", "union", "param", "role", "anonymous", "uncached")
_OUTER = (*_KINDS, "module", "module", "module", "union", "union", "empty")
_INNER = (*_KINDS, "text", "param", "empty")


def _children(
    draw: st.DrawFn, left: _Left, names: _Names, *, in_role: bool, depth: int, most: int
) -> tuple[SchemaNode, ...]:
    children: list[SchemaNode] = []
    for _ in range(draw(st.integers(0 if depth else 1, most))):
        if left.nodes <= 0:
            break
        left.nodes -= 1
        node = _node(
            draw, left, names, draw(st.sampled_from(_INNER if depth else _OUTER)), in_role, depth
        )
        after_text = children and isinstance(children[-1], PromptText)
        # Two texts side by side are one text: no document says them apart.
        if node is not None and not (after_text and isinstance(node, PromptText)):
            children.append(node)
    return tuple(children)


def _node(
    draw: st.DrawFn, left: _Left, names: _Names, kind: str, in_role: bool, depth: int
) -> SchemaNode | None:
    if kind == "role" and not in_role:
        role = draw(st.sampled_from(ROLES))
        inner = _children(draw, left, names, in_role=True, depth=depth + 1, most=3)
        return PromptRole(role, inner)
    if kind == "anonymous" or (kind == "uncached" and draw(st.booleans())):
        inner = _children(draw, left, names, in_role=in_role, depth=depth + 1, most=2)
        return PromptModule(None, kind == "anonymous", inner)
    if kind == "param" and left.parameters and names.parameters:
        default = draw(st.none() | texts(3, 0))
        least = max(1, len((default or "").encode()))
        length = draw(st.integers(least, least + 4))
        scaffold = draw(st.none() | st.builds(_cut, texts(4), st.just(length)))
        return PromptParameter(names.parameters.pop(0), length, default, scaffold or None)
    if kind == "union" and names.modules and depth < 3:
        count = draw(st.integers(1, min(3, len(names.modules))))
        members = tuple(_member(draw, left, names, in_role, depth) for _ in range(count))
        scaffold = draw(st.none() | st.sampled_from([member.name for member in members]))
        return PromptUnion(members, scaffold, required=draw(st.integers(0, 3)) == 0)
    if kind == "empty" and names.modules:
        return PromptModule(names.modules.pop(0))
    if kind in ("module", "uncached") and names.modules and depth < 3:
        return _module(draw, left, names, kind == "module", in_role, depth)
    return PromptText(draw(texts(20 if depth == 0 else 8)))


def _member(draw: st.DrawFn, left: _Left, names: _Names, in_role: bool, depth: int) -> PromptModule:
    """A module of a union; some say nothing."""
    if draw(st.integers(0, 7)) == 7:
        return PromptModule(names.modules.pop(0))
    return _module(draw, left, names, True, in_role, depth)


def _module(
    draw: st.DrawFn, left: _Left, names: _Names, cache: bool, in_role: bool, depth: int
) -> PromptModule:
    name = names.modules.pop(draw(st.integers(0, min(2, len(names.modules) - 1))))
    inner = _children(draw, left, _Names(), in_role=in_role, depth=depth + 1, most=3)
    return PromptModule(name, cache, inner or (PromptText(draw(texts(6))),))


def _cut(text: str, length: int) -> str:
    """As much of a text as `length` bytes hold."""
    return text.encode()[:length].decode(errors="ignore")


def lookalike(schema: Schema, random: Random) -> Schema:
    """A schema with much the same states: some neighbours swapped, some words others."""
    return replace(schema, children=_twisted(schema.children, random))


def _twisted(nodes: tuple[SchemaNode, ...], random: Random) -> tuple[SchemaNode, ...]:
    found: list[SchemaNode] = []
    for node in nodes:
        if isinstance(node, PromptText):
            other = other_words(node.text) if random.random() < 0.3 else node.text
            found.append(replace(node, text=other))
        elif isinstance(node, PromptUnion):
            members = _twisted(node.members, random)
            modules = tuple(member for member in members if isinstance(member, PromptModule))
            found.append(replace(node, members=modules))
        elif isinstance(node, PromptParameter):
            found.append(node)
        else:
            found.append(replace(node, children=_twisted(node.children, random)))
    for index in range(len(found) - 1):
        # Never two texts side by side: no document says them apart.
        around = found[max(index - 1, 0) : index + 3]
        if random.random() < 0.3 and sum(isinstance(node, PromptText) for node in around) < 2:
            found[index], found[index + 1] = found[index + 1], found[index]
    return tuple(found)


def written_out(schema: Schema, placeholder: str) -> Schema:
    """Where no text stands beside a parameter, a text in its place that reads as it is encoded."""
    return replace(schema, children=_written_out(schema.children, placeholder))


def _written_out(nodes: tuple[SchemaNode, ...], placeholder: str) -> tuple[SchemaNode, ...]:
    found: list[SchemaNode] = []
    for index, node in enumerate(nodes):
        if isinstance(node, PromptParameter):
            beside = [*found[-1:], *nodes[index + 1 : index + 2]]
            if not any(isinstance(other, PromptText) for other in beside):
                node = PromptText(placeholder * node.length)
        elif isinstance(node, PromptUnion):
            members = _written_out(node.members, placeholder)
            modules = tuple(member for member in members if isinstance(member, PromptModule))
            node = replace(node, members=modules)
        elif not isinstance(node, PromptText):
            node = replace(node, children=_written_out(node.children, placeholder))
        found.append(node)
    return tuple(found)


def other_words(text: str) -> str:
    """Another text of as many bytes, and so of as many tokens of a `ByteTokenizer`."""
    return "".join("x" if character < " " else chr(ord(character) ^ 1) for character in text)


# Prompts


@st.composite
def prompts(draw: st.DrawFn, schema: Schema, packed: bool = False) -> Prompt:
    """A prompt that `check_prompt` accepts; its new text may not fit between its imports.

    For the layout `packed` it imports some modules more than once, and all its texts fit.
    """
    arguments, children = _tag(draw, schema, packed, role_free=True, top=True)
    return Prompt(schema.name, arguments, children)


def _tag(
    draw: st.DrawFn,
    owner: Schema | PromptModule,
    packed: bool,
    *,
    role_free: bool,
    top: bool = False,
) -> tuple[dict[str, Argument], tuple[PromptNode, ...]]:
    """The arguments and children of the tag of `owner`; `role_free`: no role tag is around it."""
    arguments = {}
    for name, parameter in parameters_of(owner).items():
        if parameter.default is None or draw(st.booleans()):
            arguments[name] = Argument(_argument(draw, parameter.length))
    times = st.sampled_from((1, 1, 1, 2) if packed else (1,))
    imports = [
        _import(draw, place, packed, role_free)
        for place in _chosen(draw, owner)
        for _ in range(draw(times))
    ]
    imports = draw(st.permutations(imports)) if len(imports) > 1 else imports
    children: list[PromptNode] = []
    takes_role: list[bool] = []
    for node, free in imports:
        if draw(st.integers(0, 2)) == 0:
            children.append(PromptText(draw(texts(9 if packed else 3))))
            takes_role.append(True)
        children.append(node)
        takes_role.append(free)
    if draw(st.integers(0, 3)) >= (1 if top else 3):
        children.append(PromptText(draw(texts(10 if top else 2))))
        takes_role.append(True)
    if role_free and draw(st.integers(0, 2)) == 0:
        children = _in_role(draw, children, takes_role)
    return arguments, tuple(children)


def _chosen(draw: st.DrawFn, owner: Schema | PromptModule) -> list[tuple[PromptModule, bool]]:
    """Some of the owner's modules, at most one of a union; and whether a role is around each."""
    chosen: list[tuple[PromptModule, bool]] = []
    unions: dict[int, list[tuple[PromptModule, bool]]] = {}
    for place in places_of(owner).values():
        option = (place.module, place.role is not None)
        if place.union is not None:
            unions.setdefault(id(place.union), []).append(option)
            if len(unions[id(place.union)]) == len(place.union.members):
                options = unions[id(place.union)]
                skip = 0 if place.union.required else 1
                pick = draw(st.integers(0, len(options) - 1 + skip))
                chosen += options[pick : pick + 1]
        elif draw(st.integers(0, 4)) < 4:
            chosen.append(option)
    return chosen


def _import(
    draw: st.DrawFn, place: tuple[PromptModule, bool], packed: bool, role_free: bool
) -> tuple[PromptImport, bool]:
    """An import, and whether a role tag may stand around it."""
    module, in_role = place
    assert module.name is not None
    inner_free = role_free and not in_role
    arguments, children = _tag(draw, module, packed, role_free=inner_free)
    takes_role = not in_role and not _holds_role(module.children) and not _holds_role(children)
    return PromptImport(module.name, arguments, children), takes_role


def _holds_role(nodes: tuple[SchemaNode, ...] | tuple[PromptNode, ...]) -> bool:
    return any(
        isinstance(node, PromptRole)
        or (isinstance(node, PromptModule | PromptImport) and _holds_role(node.children))
        or (isinstance(node, PromptUnion) and _holds_role(node.members))
        for node in nodes
    )


def _in_role(
    draw: st.DrawFn, children: list[PromptNode], takes_role: list[bool]
) -> list[PromptNode]:
    """A stretch of the children put into a role tag, where the schema has none in or around it."""
    start = stop = draw(st.integers(0, len(children)))
    while stop < len(children) and takes_role[stop] and draw(st.integers(0, 3)):
        stop += 1
    turn = PromptRole(draw(st.sampled_from(ROLES)), tuple(children[start:stop]))
    return [*children[:start], turn, *children[stop:]]


def _argument(draw: st.DrawFn, length: int) -> str:
    """Text of at most `length` bytes, often none, often as many as fit."""
    size = draw(st.sampled_from((0, 1, length, length)))
    return _cut(draw(texts(size, size)), length) if size else ""


def recomputes() -> st.SearchStrategy[Recompute]:
    """Recompute sets of all selectors together."""
    return st.builds(
        Recompute,
        first=st.integers(0, 3),
        after_parameters=st.integers(0, 3),
        positions=st.frozensets(st.integers(0, 60), max_size=12),
        deviating=st.sampled_from((0.0, 0.0, 0.15, 0.5)),
        deviation=st.sampled_from(get_args(Deviation)),
        attended=st.sampled_from((0.0, 0.0, 0.2, 0.5)),
        read=st.sampled_from((0.0, 0.0, 0.2, 0.5)),
    )


def imported(children: tuple[PromptNode, ...], tag: ModulePath = ()) -> set[ModulePath]:
    """The paths of the modules that a prompt with these children imports."""
    found: set[ModulePath] = set()
    for child in children:
        if isinstance(child, PromptImport):
            path = (*tag, child.name)
            found |= {path} | imported(child.children, path)
        elif isinstance(child, PromptRole):
            found |= imported(child.children, tag)
    return found


# All together


@dataclass(frozen=True)
class Case:
    """A prompt over a schema, on a small model, as the engine takes it."""

    cache: PromptCache
    schema: Schema
    prompt: Prompt
    plan: PromptPlan
    fresh_anonymous: int

    def _repr_pretty_(self, printer: RepresentationPrinter, cycle: bool) -> None:
        """Short: of more than 30 kB Hypothesis warns instead of saying what failed."""
        options = f"{self.plan.attention}, {self.layout}, {self.fresh_anonymous}"
        texts = f"{write_schema(self.schema)}, {write_prompt(self.prompt)}"
        printer.text(f"Case({options}, {self.model.config}, {texts})")

    @property
    def model(self) -> Transformer:
        return self.cache.model.transformer

    @property
    def layout(self) -> LayoutName:
        return self.plan.layout

    def cold(self) -> PromptCache:
        """An engine like this one that has stored nothing yet."""
        return self.engine()

    def engine(
        self,
        model: LoadedModel | None = None,
        schema: Schema | None = None,
        store: ModuleStore | None = None,
    ) -> PromptCache:
        """A new engine with this one's options and, where none is given, its model and schema."""
        return engine(
            model or self.cache.model,
            schema or self.schema,
            self.plan.attention,
            self.fresh_anonymous,
            store,
            self.layout,
        )


def engine(
    model: LoadedModel,
    schema: Schema,
    attention: str,
    fresh_anonymous: int = 16,
    store: ModuleStore | None = None,
    layout: str = "fixed",
) -> PromptCache:
    cache = PromptCache(
        model, attention=attention, layout=layout, fresh_anonymous=fresh_anonymous, store=store
    )
    cache.add_schema(write_schema(schema))
    return cache


@st.composite
def cases(
    draw: st.DrawFn,
    attentions: Sequence[str] = ATTENTIONS,
    layouts: Sequence[str] = LAYOUTS,
) -> Case:
    """A prompt that has something to compute. Text between imports that does not fit is cut out:
    the errors have a law of their own."""
    model = loaded(draw(models()), draw(tokenizers()))
    schema = draw(schemas())
    short = draw(st.sampled_from((16, 4)))
    layout = draw(st.sampled_from(layouts))
    attention = draw(st.sampled_from(attentions))
    cache = engine(model, schema, attention, short, layout=layout)
    prompt, plan = fitted(cache.plan, draw(prompts(schema, layout == "packed")))
    return Case(cache, schema, prompt, plan, short)


def fitted(planned: Callable[[Prompt], PromptPlan], prompt: Prompt) -> tuple[Prompt, PromptPlan]:
    """The prompt with as many of its texts and role tags as fit, and its plan; never empty."""
    kept: set[int] = set()
    for number in range(_parts(prompt.children)):
        with suppress(PMLError):
            planned(_with_parts(prompt, kept | {number}))
            kept.add(number)
    fitting = _with_parts(prompt, kept)
    try:
        return fitting, planned(fitting)
    except PMLError:  # It holds no token.
        fitting = replace(fitting, children=(*fitting.children, PromptText("Go!")))
        return fitting, planned(fitting)


def _parts(children: tuple[PromptNode, ...]) -> int:
    """How many texts and role tags a prompt has."""
    inner = sum(_parts(child.children) for child in children if not isinstance(child, PromptText))
    return inner + sum(not isinstance(child, PromptImport) for child in children)


def _with_parts(prompt: Prompt, kept: set[int]) -> Prompt:
    """The prompt with the texts and role tags `kept` only, which are counted from the front."""
    return replace(prompt, children=_kept(prompt.children, kept, count()))


def _kept(
    children: tuple[PromptNode, ...], kept: set[int], numbers: Iterator[int]
) -> tuple[PromptNode, ...]:
    found: list[PromptNode] = []
    for child in children:
        stays = isinstance(child, PromptImport) or next(numbers) in kept
        if not isinstance(child, PromptText):
            inner = _kept(child.children, kept, numbers)
            found += [replace(child, children=inner)] if stays else inner
        elif stays:
            found.append(child)
    return tuple(found)

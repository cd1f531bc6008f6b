"""A foreign checkpoint into ours: every tensor accounted for, every weight of ours filled once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor

from minillm.checkpoint import WEIGHTS_FILE
from minillm.config import ModelConfig
from minillm.config_file import CheckpointConfig, save_config
from minillm.errors import LoadError, shown
from minillm.families.base import Weight
from minillm.foreign.chat_form import ChatForm, read_markers
from minillm.foreign.chat_known import KNOWN_FORMS, known_form
from minillm.foreign.chat_render import form_of_template
from minillm.foreign.gguf_source import open_gguf
from minillm.foreign.hf_source import open_folder
from minillm.foreign.source import Source
from minillm.foreign.tokenizer import ForeignTokenizer, write_tokenizer
from minillm.verify import record
from minillm.weights_file import TensorSpec, write_weights

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Converted:
    """What a conversion made.

    `skipped` are the tensors of the source that are in no weight; `plain_markers` those parts of
    its chat markers that look like special tokens and are none, so that any text can spell them.
    """

    folder: Path
    config: ModelConfig
    num_weights: int
    skipped: tuple[str, ...]
    plain_markers: tuple[str, ...]


def convert(
    source: Path | str,
    target: Path | str,
    *,
    dtype: torch.dtype | None = None,
    roles: Path | str | None = None,
    allow_pickle: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Convert a GGUF file or a Hugging Face folder into the new folder `target`.

    Weights keep their dtype, quantised ones become float32 (exactly), unless `dtype` is given.
    `roles` is a file of chat markers, or the name of a known format, for a model that brings no
    template or one that cannot be read. `allow_pickle` reads `.bin` files too, in a process with
    limits. `progress` is told the bytes written and their total. Raises `LoadError` in one line;
    `target` is there as a whole afterwards, or not at all.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise LoadError(f"{target}: exists already")
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    scratch = partial / "unpickled" if allow_pickle else None
    try:
        if scratch:
            scratch.mkdir(parents=True)
        with _open(source, scratch) as opened:
            partial.mkdir(parents=True, exist_ok=allow_pickle)
            converted = _convert(opened, partial, dtype, roles, progress)
        if scratch:
            shutil.rmtree(scratch)
        partial.rename(target)
    except OSError as error:
        raise LoadError(f"{target}: {error}") from error
    except LoadError as error:
        message = str(error)
        named = message.startswith(str(source))
        raise LoadError(message if named else f"{source}: {message}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Converted(target, *converted)


def _open(source: Path, scratch: Path | None) -> AbstractContextManager[Source]:
    if source.suffix in (".safetensors", ".bin") and source.is_file():
        raise LoadError(f"{source}: give the folder that it is in, with its config.json")
    return open_folder(source, scratch) if source.is_dir() else open_gguf(source)


def _convert(
    source: Source,
    folder: Path,
    dtype: torch.dtype | None,
    roles: Path | str | None,
    progress: Progress | None,
) -> tuple[ModelConfig, int, tuple[str, ...], tuple[str, ...]]:
    config = source.config
    table = source.weights
    skipped = (*source.skipped, *_account(source))
    # The tokenizer first: it takes a second, and a template nobody knows ends the work here.
    form = _chat_form(source.tokenizer, roles)
    written_tokenizer = write_tokenizer(source.tokenizer, form, folder)
    if (found := written_tokenizer.tokenizer.vocab_size) > config.vocab_size:
        sizes = f"{found} tokens, the model {config.vocab_size}"
        raise LoadError(f"the tokenizer has {sizes}")
    specs = {name: _spec(source, weight, dtype) for name, weight in table.items()}
    total, written = sum(spec.num_bytes for spec in specs.values()), 0

    def tensor(name: str) -> Tensor:
        nonlocal written
        parts = [source.tensor(part).to(specs[name].dtype) for part in table[name].sources]
        written += specs[name].num_bytes
        if progress:
            progress(written, total)
        return table[name].assemble(parts)

    sha256 = write_weights(folder / WEIGHTS_FILE, specs, tensor)
    save_config(CheckpointConfig(config, sha256, source.provenance), folder)
    record(folder)
    return config, len(table), skipped, written_tokenizer.plain_markers


def _chat_form(tokenizer: ForeignTokenizer, roles: Path | str | None) -> ChatForm:
    if roles is None:
        return form_of_template(tokenizer.template, tokenizer.template_names)
    if str(roles) not in KNOWN_FORMS:
        return read_markers(Path(roles))
    form = known_form(str(roles), tokenizer.template_names)
    if form is None:
        raise LoadError(f"{roles} needs tokens for the beginning and the end of a text")
    return form


def _account(source: Source) -> tuple[str, ...]:
    """Hold the table against the source: nothing missing, misshapen or left over.

    The names of tensors that are skipped for a reason come back.
    """
    table = source.weights
    used = [part for weight in table.values() for part in weight.sources]
    if missing := set(used) - source.specs.keys():
        raise LoadError(f"tensor {sorted(missing)[0]} is missing ({len(missing)} in all)")
    for name, weight in table.items():
        shapes = [source.specs[part].shape for part in weight.sources]
        rows = sum(shape[0] for shape in shapes if shape)
        if any((rows, *shape[1:]) != weight.shape for shape in shapes):
            raise LoadError(
                f"{' + '.join(weight.sources)}: shapes {shapes} do not make up {weight.shape}, "
                f"the shape of {name}"
            )
    left = sorted(source.specs.keys() - set(used))
    for name in left:
        if not _is_tied_output(name, source):
            raise LoadError(f"tensor {shown(name)} has no place in the model")
    return tuple(left)


def _is_tied_output(name: str, source: Source) -> bool:
    """Some files of models with tied weights hold the output matrix a second time."""
    (embedding,) = source.weights["embedding.weight"].sources
    if name != "lm_head.weight" or not source.config.tie_embeddings:
        return False
    if source.specs[name].shape != source.specs[embedding].shape:
        return False
    return torch.equal(source.tensor(name), source.tensor(embedding))


def _spec(source: Source, weight: Weight, dtype: torch.dtype | None) -> TensorSpec:
    if dtype is None:
        dtype = reduce(torch.promote_types, (source.specs[p].dtype for p in weight.sources))
    return TensorSpec(dtype, weight.shape)

"""`.bin` files, PyTorch's pickles: made into safetensors first, and only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minillm.errors import LoadError
from minillm.foreign.limits import Limits, run_limited

PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
CHILD = Path(__file__).with_name("unpickle_child.py")
SLOWEST = 5 << 20  # bytes a second
LIBRARIES = 16 << 30  # of address space, most of which is never memory


def unpickle(source: Path, target: Path, skipped: Sequence[str]) -> tuple[str, ...]:
    """Write the tensors of `source` into the safetensors file `target`.

    Tensors whose names end in one of `skipped` are left out; their names come back. Raises
    `LoadError` where the file holds anything but tensors, or takes more than it may.
    """
    size = source.stat().st_size
    seconds = 60 + size // SLOWEST
    limits = Limits(
        seconds=seconds,
        cpu_seconds=seconds,
        memory_bytes=LIBRARIES + 3 * size,
        file_bytes=size + (64 << 20),
    )
    paths = {"source": str(source.resolve()), "target": str(target.resolve())}
    try:
        result = run_limited(CHILD, paths | {"skipped": list(skipped)}, limits)
    except LoadError as error:
        raise LoadError(f"{source}: reading it was {error}") from error
    reply = result if isinstance(result, dict) else {}
    left_out = reply.get("left_out")
    if not isinstance(left_out, list):
        raise LoadError(f"{source}: {reply.get('error', 'no answer')}")
    return tuple(map(str, left_out))

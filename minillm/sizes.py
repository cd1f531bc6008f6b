"""From which size on attention is computed in which way on a CPU: measured figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from minillm.linear import can_pack


@dataclass(frozen=True)
class Sizes:
    """What a processor computes soonest in which way, as measured (`docs/performance.md`).

    `rows` are score rows computed at a time, so that a block of scores stays in the processor's
    cache. From `flash` rows of a run on the flash kernel is faster, with `flash_rows` at a time: it
    computes that many in blocks of its largest size, and keys that only later ones see are left
    out. It is also faster for a single token over up to `step_keys` keys. Up to `few` rows of a
    run, or for several runs, one product of all heads is faster than one for each, where there are
    at most `small` scores and `keys` keys.
    """

    rows: int
    flash: float
    flash_rows: int
    step_keys: int
    few: int
    small: int
    keys: float


WIDE = Sizes(rows=256, flash=192, flash_rows=768, step_keys=0, few=24, small=1 << 20, keys=math.inf)
BFLOAT16 = replace(WIDE, rows=512, flash=math.inf, step_keys=2048, keys=1024)
"""For processors that multiply in bfloat16: there the flash kernel takes twice as long as the
products that it is made of, and a product of all heads copies their keys first."""


def sizes_for(dtype: torch.dtype, device: torch.device) -> Sizes:
    """Those of queries and keys in `dtype`."""
    return BFLOAT16 if dtype == torch.bfloat16 and can_pack(dtype, device) else WIDE

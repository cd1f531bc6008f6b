"""The dial between the time to the first token and the answer of full prefill.

    fast        nothing is computed again: modules that need one another cannot see one another
    balanced    computed again, seeing all that the prompt holds: of the imported modules' tokens
                the 20 % (of all that is cached) that its last token attends to most and the 20 %
                that any of its last 32 fresh ones does; and the 20 % whose values deviate most
                from full prefill's (CacheBlend)
    exact       all is computed again but what saw the whole prompt before it: the answer of full
                prefill (at the prompt's positions: take `packed`, where a prompt has no gaps)

`docs/results.md` has the measurements behind `balanced`.
"""

from __future__ import annotations

from typing import Literal

from pml.recompute import Recompute

Quality = Literal["fast", "balanced", "exact"]

QUALITIES: dict[Quality, Recompute] = {
    "fast": Recompute(),
    "balanced": Recompute(read=0.2, sought=0.2, deviating=0.2),
    "exact": Recompute(unseen=True),
}


def recompute_of(quality: str) -> Recompute:
    """Raises `ValueError` for a quality that there is not."""
    for name, recompute in QUALITIES.items():
        if name == quality:
            return recompute
    raise ValueError(f"quality is {quality!r}, expected one of {', '.join(QUALITIES)}")

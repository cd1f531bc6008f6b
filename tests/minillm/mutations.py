"""Damaged copies of a good file, drawn from a seed."""

from __future__ import annotations

import random


def mutated(data: bytes, seed: int) -> bytes:
    """One to eight small damages: a bit, a byte, a length, a cut, a piece doubled or moved."""
    rng, changed = random.Random(seed), bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if len(changed) < 16:
            break
        at = rng.randrange(len(changed) - 8)
        match rng.randrange(6):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.choice((0, 1, 8, 9, 0x7F, 0x80, 0xFF))
            case 2:
                edge = rng.choice((0, 1, 2**31, 2**32 - 1, 2**40, 2**60, 2**63, 2**64 - 1))
                changed[at : at + 8] = edge.to_bytes(8, "little")
            case 3:
                changed[at : at + 4] = rng.randrange(16).to_bytes(4, "little")
            case 4:
                del changed[at : at + rng.randint(1, 64)]
            case 5:
                changed[at:at] = changed[at : at + rng.randint(1, 64)]
    return bytes(changed)

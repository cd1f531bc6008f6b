"""A store as people ask for it: a folder, budgets, a policy by name."""

from __future__ import annotations

from pathlib import Path

import torch

from pml.errors import listed
from pml.store.claims import Claims
from pml.store.disk import DiskTier
from pml.store.memory import MemoryTier
from pml.store.module_store import ModuleStore
from pml.store.policy import POLICIES, PolicyName
from pml.store.protocols import Codec, StoreError, Tier
from pml.store.remote import open_remote
from pml.store.remote_tier import RemoteTier


def open_store(
    folder: Path | str | None = None,
    *,
    memory: int | None = None,
    host: int = 0,
    disk: int | None = None,
    remote: str | None = None,
    device: torch.device | str = "cpu",
    policy: PolicyName = "cost",
    codec: Codec | None = None,
    ttl: float | None = None,
) -> ModuleStore:
    """States in memory, and on disk where a folder is named; budgets in bytes, None for none.

    On a GPU `memory` is its own, and `host` that of the machine, in pinned pages. `remote` is a
    further place by its address: see `pml/store/remote.py`. Raises `StoreError` for a folder that
    is something else or cannot be used, `LoadError` for an unknown address, `ValueError` for an
    unknown policy or a negative budget.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy is {policy!r}, expected {listed(POLICIES)}")
    for tier, budget in (("memory", memory), ("host", host), ("disk", disk)):
        if budget is not None and budget < 0:
            raise ValueError(f"{tier} is {budget}, expected bytes, or None for no limit")
    chosen = POLICIES[policy]
    on_gpu = torch.device(device).type == "cuda"
    name = "device" if on_gpu else "memory"
    tiers: list[Tier] = [MemoryTier(name, budget=memory, policy=chosen, device=device)]
    if host:
        tiers.append(MemoryTier("host", budget=host, policy=chosen, device="cpu", is_pinned=on_gpu))
    claims = None
    if folder is not None:
        try:
            tiers.append(DiskTier(folder, budget=disk, policy=chosen, codec=codec))
        except OSError as error:
            raise StoreError(f"{folder}: no folder for a store: {error.strerror}") from error
        claims = Claims(Path(folder) / "claims")
    if remote is not None:
        tiers.append(RemoteTier(open_remote(remote), codec=codec))
    return ModuleStore(tiers, ttl=ttl, codec=codec, claims=claims)

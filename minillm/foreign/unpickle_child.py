"""Pickled weights into safetensors, alone in a process with limits: `pickled.py` starts this file.

This is the only place that reads a pickle. `weights_only` keeps it from running code out of the
file; that has failed before (CVE-2025-32434), so the process is one that has nothing to lose.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from minillm.foreign.limits import answer, receive_job


def main() -> None:
    job = receive_job()
    import torch

    path = job["source"]
    try:
        # A zip file is mapped, and its tensors are read as they are written. Files of before 2020
        # are none, and come into memory whole.
        mapped = zipfile.is_zipfile(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # whatever a damaged or hostile file makes of it
        answer({"error": f"not a file of tensors alone ({type(error).__name__})"})
        return
    answer(write_tensors(content, Path(job["target"]), tuple(job["skipped"])))


def write_tensors(content: Any, target: Path, skipped: tuple[str, ...]) -> dict[str, object]:
    """Write what a file held, if it is tensors by name; what to answer."""
    import torch

    from minillm.weights_file import DTYPE_NAMES, TensorSpec, write_weights

    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        return {"error": "not a table of tensors by name"}
    tensors = {name: value for name, value in content.items() if not name.endswith(skipped)}
    for name, value in tensors.items():
        if not isinstance(value, torch.Tensor) or value.dtype not in DTYPE_NAMES:
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            known = ", ".join(DTYPE_NAMES.values())
            return {"error": f"{name!r} is {kind}, expected a tensor of {known}"}
    specs = {name: TensorSpec(value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    write_weights(target, specs, lambda name: tensors[name].detach())
    return {"left_out": sorted(content.keys() - tensors.keys())}


if __name__ == "__main__":
    main()

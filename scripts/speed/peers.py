"""The peers, each in a process and an environment of its own, asked in turn with ours."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

SCRIPTS = Path(__file__).parents[1]


class PeerProcess:
    """`ask("full", 4096)` gives the seconds that it took over there."""

    def __init__(
        self, python: Path, name: str, model: Path, dtype: str, threads: int, tokens: Sequence[int]
    ) -> None:
        paths = f"{SCRIPTS}{os.pathsep}{SCRIPTS.parent}"
        self.process = subprocess.Popen(
            [python, Path(__file__).with_name("peer.py"), name, model, dtype, str(threads)],
            env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell({"tokens": list(tokens)})
        self._answer()

    def ask(self, method: str, argument: int) -> float:
        self._tell([method, argument])
        return float(self._answer())

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()

    def _tell(self, message: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _answer(self) -> str:
        assert self.process.stdout
        if not (line := self.process.stdout.readline()):
            raise SystemExit(f"a peer ended with exit code {self.process.wait()}; see above")
        return line

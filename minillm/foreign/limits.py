"""Work on somebody else's file in a process of its own, which may not take more than it is given.

The parent writes the job into a file that is the child's standard input, and reads the answer out
of one that is its standard output. The child limits itself before it looks at the job's content;
the kernel ends it when it takes too much, and the parent when it takes too long.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minillm.errors import LoadError

KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG")


@dataclass(frozen=True)
class Limits:
    """`file_bytes` holds for each file that the child writes, its answer among them."""

    seconds: int
    cpu_seconds: int
    memory_bytes: int
    file_bytes: int


def run_limited(script: Path, job: object, limits: Limits) -> object:
    """What `script` answers to `job`, both JSON; raises `LoadError` where it did not come to it."""
    content = json.dumps({"limits": asdict(limits), "job": job}).encode()
    environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as answer:
        given.write(content)
        given.seek(0)
        # -I: neither the environment nor the working directory decides what is imported.
        child = subprocess.Popen(
            [sys.executable, "-I", str(script)],
            stdin=given,
            stdout=answer,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
        try:
            code = child.wait(timeout=limits.seconds)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"stopped after {limits.seconds} seconds") from error
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if code != 0:
            raise LoadError(_reason(code))
        answer.seek(0)
        try:
            result: object = json.load(answer)
        except ValueError as error:
            raise LoadError("the answer is not whole") from error
        return result


def _reason(code: int) -> str:
    if code == -signal.SIGXCPU:
        return "stopped: too much computing time"
    if code == -signal.SIGXFSZ:
        return "stopped: too much output"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return "failed: too much memory, or an error of its own"


def receive_job() -> Any:
    """In the child, before anything else: take on the limits; the job."""
    content = json.load(sys.stdin.buffer)
    limits = Limits(**content["limits"])
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python would go on with an error
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    return content["job"]


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        # The soft limit sends a signal, a second later the hard one ends the process.
        resource.setrlimit(kind, (most, most + 1 if kind == resource.RLIMIT_CPU else most))
    except ValueError:
        if sys.platform != "darwin" or kind != resource.RLIMIT_AS:  # which macOS does not know
            raise


def answer(result: object) -> None:
    """In the child, at the end."""
    sys.stdout.write(json.dumps(result))
    sys.stdout.flush()

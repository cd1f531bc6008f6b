"""How the command-line tools talk: answers on stdout, everything else on stderr. No torch.

    exit code  0 done   1 failed   2 wrong usage   4 damaged files
               130 interrupted   141 nobody reads stdout

An error that a user can do something about is one line; a traceback is a bug of ours.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from minillm.errors import IntegrityError, LoadError

FAILED, USAGE, INTEGRITY, INTERRUPTED, UNREAD = 1, 2, 4, 130, 141


class Failure(Exception):
    """Ends a command with one line on stderr and an exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class Commands(TyperGroup):
    """A group of commands in which an expected error becomes a line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")  # any text, whatever the encoding
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Python would flush once more at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(UNREAD) from None
        except Exception as error:
            code = self.explain(error)
            if code is None:
                raise
            raise typer.Exit(code) from None
        return result

    def explain(self, error: Exception) -> int | None:
        """Say what went wrong; the exit code, or None for what nobody expected."""
        if isinstance(error, Failure):
            note(f"error: {error}")
            return error.code
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            note(f"error: {error.filename}: {reason}" if error.filename else f"error: {reason}")
            return FAILED
        if isinstance(error, LoadError):
            note(f"error: {error}")
            return INTEGRITY if isinstance(error, IntegrityError) else FAILED
        return None


def note(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


def print_json(content: Mapping[str, object]) -> None:
    """The one thing on stdout; in ASCII, so that no terminal or pipe can spoil it.

    `version` is that of the form, unless the content names one of its own.
    """
    print(json.dumps({"version": 1, **content}))


def log_to_stderr(verbose: bool) -> None:
    """Let the loggers of both packages speak."""
    if verbose:
        logging.basicConfig(
            stream=sys.stderr, format="%(relativeCreated)7d ms %(name)s: %(message)s"
        )
        for name in ("minillm", "pml"):
            logging.getLogger(name).setLevel(logging.DEBUG)


def amount(num_bytes: float) -> str:
    """
    >>> amount(45_000), amount(538_080_064)
    ('45 kB', '538 MB')
    """
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while num_bytes >= 999.5 and len(units) > 1:
        num_bytes /= 1000
        del units[0]
    return f"{num_bytes:.3g} {units[0]}"


def duration(seconds: float) -> str:
    """
    >>> duration(0.0042), duration(0.61), duration(12.3), duration(95)
    ('4.2 ms', '0.61 s', '12 s', '1 min 35 s')
    """
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 59.5:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def waiting(title: str) -> AbstractContextManager[object]:
    """A turning sign on stderr while something without steps goes on; never without a terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    return Console(stderr=True).status(title)


class Bar:
    """A progress bar on stderr, once something has taken a second; never without a terminal.

    with Bar("encoding", total=4000) as bar:
        bar.advance(512)
    """

    def __init__(self, title: str, total: float | None = None) -> None:
        self.title, self.total, self.done = title, total, 0.0
        self._started = time.monotonic()
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, by: float) -> None:
        self.show(self.done + by)

    def show(self, done: float, total: float | None = None, title: str | None = None) -> None:
        """How much is done; `total` and `title` where they are new."""
        self.done, self.total = done, self.total if total is None else total
        self.title = title or self.title
        if self._progress is None and sys.stderr.isatty() and time.monotonic() > self._started + 1:
            self._start()
        if self._progress is not None:
            self._progress.update(
                self._task, completed=done, total=self.total, description=self.title
            )

    def _start(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(self.title, total=self.total)
        self._progress.start()

"""Renders a chat template, alone in a process with limits: `chat_render.py` starts this file.

The job is a template, its variables, and conversations with their content replaced by marks; the
answer is what each conversation renders to, None where the template refuses it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from minillm.foreign.limits import answer, receive_job


def main() -> None:
    job = receive_job()
    try:
        from jinja2.exceptions import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        answer({"missing": "jinja2"})
        return

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    # As the `transformers` library sets it up, but for the date of today: what is rendered now is
    # kept, so that a template must fall back to its own.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.globals["raise_exception"] = raise_exception
    try:
        template = environment.from_string(job["template"])
    except Exception as error:  # a template can fail in any way it likes
        answer({"error": f"{type(error).__name__}: {error}"[:200]})
        return

    def render(conversation: dict[str, Any]) -> str | None:
        try:
            return template.render(tools=None, documents=None, **job["variables"], **conversation)
        except Exception:
            return None

    answer({"rendered": [render(conversation) for conversation in job["conversations"]]})


if __name__ == "__main__":
    main()

"""Whether a prompt fits its schema: first version, to be completed."""

from pml.errors import PMLPromptError
from pml.nodes import Prompt, Schema


def check_prompt(prompt: Prompt, schema: Schema, *, repeat: bool = False) -> None:
    if prompt.schema != schema.name:
        raise PMLPromptError(f"wrong schema {prompt.schema!r}", prompt.at)

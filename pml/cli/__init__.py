"""`pml`: check and map documents, run and explain prompts, compare with full prefill, edit.

Exit codes as in `minillm.console`, and 3 for documents that are wrong. What needs no model's
weights (`--help`, `check`, `fmt`, `map`, `discover`, `lsp`) never imports torch.
"""

from __future__ import annotations

import typer

from minillm.flags import options
from pml.cli.adapting import adapt
from pml.cli.chatting import chat
from pml.cli.checking import check
from pml.cli.compile import compile_program
from pml.cli.discovering import discover
from pml.cli.documents import PMLCommands
from pml.cli.editing import language, lsp
from pml.cli.evaluating import evaluate, gaps
from pml.cli.formatting import fmt
from pml.cli.gating import gate
from pml.cli.language import draw_map
from pml.cli.running import compare, demo, explain, run
from pml.cli.storing import store

app = typer.Typer(
    cls=PMLCommands,
    help="Prompt Cache: declare what prompts share, compute it once, answer many times sooner.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.callback()(options)
app.command()(check)
app.command()(fmt)
app.command("map")(draw_map)
app.command("compile")(compile_program)
app.command()(discover)
app.command()(run)
app.command()(chat)
app.command()(explain)
app.command()(compare)
app.command()(demo)
app.command("eval")(evaluate)
app.command()(gaps)
app.command()(gate)
app.command()(adapt)
app.add_typer(store, name="store")
app.command()(lsp)
app.command()(language)


def main() -> None:
    app()

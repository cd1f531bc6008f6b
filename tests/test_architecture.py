"""The rooms of the code and who may look into which; `docs/architecture.md` says it in words."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import pml

ROOT = Path(__file__).parent.parent

ORDER = {
    "minillm": """
        errors config rope alibi visibility segments linear sizes kv flash sight attention layers
        families.fields families.rope_fields families.gguf_fields families.base
        families.llama families.falcon families.mpt families model gradients
        json_file special_tokens pieces tokenizer_json tokenizer_spm tokenizer
        config_file weights_file checkpoint golden_file verify
        gguf_values ggml gguf
        foreign.limits foreign.sentencepiece_model
        foreign.chat_form foreign.chat_row foreign.chat_known foreign.chat_table
        foreign.render_child foreign.chat_render
        foreign.trusted foreign.tokenizer foreign.source
        foreign.gguf_vocabulary foreign.gguf_bpe foreign.gguf_spm foreign.gguf_tokenizer
        foreign.gguf_source foreign.hf_vocabulary foreign.hf_tokenizer
        foreign.unpickle_child foreign.pickled foreign.hf_source foreign
        convert sampling answer generate bench console flags cli_checks cli __main__
    """,
    "pml": """
        errors rule_table source malformed markup nodes attributes whitespace include rules
        schema_reader schema check prompt diagnostics description elements writer build
        concrete runs formatting
        program.expressions program.source program.pieces program.naming program.branches
        program.texts program.signature program.scope program.refused program.compiler program
        layout context states asked placement fixed packed plan recompute learned resolve
        planner schemas conversation rows view svg boundaries lint sarif
        discover.flat discover.log discover.tokens discover.atoms discover.ends discover.merge
        discover.prefixes discover.slots discover.pieces discover.patterns discover.trial
        discover.unions discover.names discover.propose discover.rewrite discover.report discover
        lsp lsp.text lsp.scan lsp.documents lsp.files lsp.project lsp.scope lsp.checks lsp.facts
        lsp.hover lsp.completion lsp.places lsp.answers lsp.server
        quality steps reference encoder
        store.keys store.policy store.protocols store.form store.memory store.files store.index
        store.recovery store.folder store.disk store.upkeep store.codec store.remote
        store.remote_tier store.claims store.prefetch store.working store.module_store
        store.opening store
        segment_source assembly deviation measured library completion
        bases request batch chat card engine service explain estimate compare demo
        eval eval.items eval.score eval.tasks eval.modes eval.question eval.run eval.plot
        eval.summary eval.gaps eval.page gate
        adapt adapt.records adapt.texts adapt.rows adapt.adapter adapt.training
        cli.documents cli.output cli.language cli.checking cli.formatting cli.compile
        cli.editing cli.discovering cli.evaluating cli.gating cli.adapting cli.running
        cli.chatting cli.storing cli __main__
    """,
}
"""A module imports only from those before it in its own list, and `pml` from all of `minillm`."""

TORCH_FREE = {
    "minillm": """
        errors json_file special_tokens pieces tokenizer_json tokenizer_spm tokenizer
        gguf_values ggml gguf console cli __main__
    """,
    "pml": """
        errors rule_table source malformed markup nodes attributes whitespace include rules
        schema_reader schema check prompt diagnostics description elements writer build
        concrete runs formatting
        program.expressions program.source program.pieces program.naming program.branches
        program.texts program.signature program.scope program.refused program.compiler program
        layout context states asked placement fixed packed plan recompute learned resolve
        planner schemas conversation rows view svg boundaries lint sarif
        discover.flat discover.log discover.tokens discover.atoms discover.ends discover.merge
        discover.prefixes discover.slots discover.pieces discover.patterns discover.trial
        discover.unions discover.names discover.propose discover.rewrite discover.report discover
        lsp lsp.text lsp.scan lsp.documents lsp.files lsp.project lsp.scope lsp.checks lsp.facts
        lsp.hover lsp.completion lsp.places lsp.answers lsp.server
        cli.documents cli.language cli.checking cli.formatting cli.compile cli.editing
        cli.discovering cli __main__
    """,
}

FORBIDDEN = {"pickle", "marshal", "shelve", "eval", "exec", "yaml"}
"""Nothing that a file could make run code is imported or called in the packages."""


def modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            yield name, ast.parse(path.read_text(), str(path))


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported anywhere in `tree`, types included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", ["minillm", "pml"])
def test_a_module_imports_only_what_stands_before_it(package: str) -> None:
    order = ORDER[package].split()
    for name, tree in modules(package):
        assert name in order, f"{package}/{name} has no place in the order"
        allowed = set(order[: order.index(name)]) | {name}
        for imported in imports(tree):
            top, _, rest = imported.partition(".")
            if top == package and rest in order:
                assert rest in allowed, f"{package}.{name} imports {rest}, which stands after it"


def test_minillm_knows_nothing_of_pml_and_no_package_of_what_is_built_on_it() -> None:
    for package in ("minillm", "pml"):
        for name, tree in modules(package):
            tops = {imported.partition(".")[0] for imported in imports(tree)}
            assert not tops & {"tests", "scripts", "course"}, name
            assert package == "pml" or "pml" not in tops, name


@pytest.mark.parametrize("package", ["minillm", "pml"])
def test_nothing_can_run_code_out_of_a_file(package: str) -> None:
    for name, tree in modules(package):
        called = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        tops = {imported.partition(".")[0] for imported in imports(tree)}
        assert not (tops | called) & FORBIDDEN, name


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


@pytest.mark.parametrize("package", ["minillm", "pml"])
def test_the_torch_free_half_imports_without_torch(package: str) -> None:
    names = [f"{package}.{name}" for name in TORCH_FREE[package].split()]
    loaded = run(f"import sys, {', '.join(names)}; print('torch' in sys.modules)")
    assert loaded.strip() == "False"


def test_coverage_is_asked_of_the_torch_free_half() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]["run"]
    for name in ORDER["pml"].split():
        file = f"pml/{name.replace('.', '/')}"
        file += "/__init__.py" if (ROOT / file).is_dir() else ".py"
        left_out = any(fnmatch(file, pattern) for pattern in settings["omit"])
        assert left_out == (name not in TORCH_FREE["pml"].split()), name


def test_the_tests_of_the_torch_free_half_import_nothing_else() -> None:
    free = {package: TORCH_FREE[package].split() for package in TORCH_FREE}
    for path in sorted((ROOT / "tests" / "pml").glob("*.py")):
        for imported in imports(ast.parse(path.read_text())):
            package, _, rest = imported.partition(".")
            assert imported not in ("torch", "tiny_model"), path.name
            if package in ORDER and rest in ORDER[package].split():
                assert rest in free[package], f"{path.name} imports {imported}"


def test_importing_pml_costs_less_than_a_tenth_of_a_second_more_than_torch() -> None:
    code = (
        "import time, torch; start = time.perf_counter(); import pml; "
        "print(time.perf_counter() - start)"
    )
    assert min(float(run(code)) for _ in range(3)) < 0.1


def test_what_pml_exports_has_the_name_that_it_is_exported_by() -> None:
    for name in pml.__all__:
        assert getattr(pml, name).__name__ == name


def test_importing_the_engine_leaves_command_line_and_pictures_alone() -> None:
    loaded = run("import sys, pml; pml.PromptCache; print([m for m in sys.modules])")
    assert not {"'typer'", "'rich'", "'matplotlib'"} & set(loaded.strip(" []\n").split(", "))

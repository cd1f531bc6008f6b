"""What is wrong with a document of an editor, its schema and its model taken into account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pml.diagnostics import Diagnostic, Lines, as_diagnostics, diagnose_prompt, diagnose_schema
from pml.errors import PMLError, Related, closest, did_you_mean, quoted
from pml.lint import lint
from pml.lsp.documents import Document
from pml.lsp.project import Project, ReadSchema
from pml.prompt import Prompt


def diagnose(document: Document, project: Project) -> list[Diagnostic]:
    """All there is to say; the documents are told apart by their root.

    A document of another root is nobody's, unless its file's name ends in `.pml`.
    """
    if document.is_prompt:
        return _of_prompt(document, project)
    if document.is_schema:
        read = project.read(document)
        found = [*read.checked.diagnostics]
        found += _said([read.trouble], document) if read.trouble else []
        return found + _warnings(read, (), document, project)
    if document.path is not None and document.path.suffix != ".pml":
        return []
    checked = diagnose_schema(document.text.content, document.uri)
    return [_as_either(one) for one in checked.diagnostics]


def _of_prompt(document: Document, project: Project) -> list[Diagnostic]:
    text = document.text.content
    read = project.schema_of(document)
    good = read.good if read else None
    repeat = good is not None and good.layout == "packed"
    checked = diagnose_prompt(text, document.uri, good, repeat=repeat)
    found = [*checked.diagnostics]
    if checked.tree is not None and checked.tree.schema and read is None:
        found.append(_no_schema(document, checked.tree, project))
    elif checked.tree is not None and read is not None and (trouble := _first_error(read)):
        found.append(_broken_schema(checked.tree, document, trouble))
    elif checked.tree is not None and not found and read is not None and read.planner is not None:
        try:
            read.planner.plan(checked.tree)
            found += _warnings(read, [checked.tree], document, project)
        except PMLError as error:
            found += _said([error], document)
    return found


def _warnings(
    read: ReadSchema, prompts: Sequence[Prompt], document: Document, project: Project
) -> list[Diagnostic]:
    """The warnings of `pml check` that are about this document; they need a model."""
    if read.planner is None or read.good is None or project.model is None:
        return []
    lines = Lines(document.text.content, document.uri)
    found = lint(read.good, prompts, read.planner, project.model.alibi_slope)
    return [
        replace(one, end=lines.end_of(one.at))
        for one in found
        if one.at is not None and one.at.file == document.uri
    ]


def _first_error(read: ReadSchema) -> Diagnostic | None:
    errors = (one for one in read.checked.diagnostics if one.severity == "error")
    trouble = _said([read.trouble], read.document)[0] if read.trouble else None
    return next(errors, trouble)


def _no_schema(document: Document, prompt: Prompt, project: Project) -> Diagnostic:
    names = project.schema_names(document)
    guess = closest(prompt.schema, names)
    message = (
        f"no schema {quoted(prompt.schema)} is open, in this folder or those above it, or in the "
        f"workspace; only the prompt's own form is checked{did_you_mean(guess)}"
    )
    return _at_root(document, prompt, message, guess)


def _broken_schema(prompt: Prompt, document: Document, trouble: Diagnostic) -> Diagnostic:
    message = f"schema {quoted(prompt.schema)} has errors; what is said here may be out of date"
    told = _at_root(document, prompt, message)
    related = (Related(trouble.at, trouble.message),) if trouble.at else ()
    return replace(told, related=related)


def _at_root(
    document: Document, prompt: Prompt, message: str, suggestion: str | None = None
) -> Diagnostic:
    error = PMLError(message, prompt.at, code="other-schema", suggestion=suggestion)
    return replace(_said([error], document)[0], severity="warning")


def _said(errors: list[PMLError], document: Document) -> list[Diagnostic]:
    return as_diagnostics(errors, document.text.content, document.uri)


def _as_either(found: Diagnostic) -> Diagnostic:
    """A root that is neither a schema's nor a prompt's could become either."""
    if found.code != "wrong-root":
        return found
    return replace(found, message=f"{found.message} or <prompt schema=…>")

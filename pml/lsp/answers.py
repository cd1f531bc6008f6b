"""What this package finds, in the protocol's types; and the protocol's edits in this package's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsprotocol import types

from pml.diagnostics import Diagnostic
from pml.errors import Location, PMLError
from pml.formatting import format_document
from pml.lsp import completion, places
from pml.lsp.checks import diagnose
from pml.lsp.documents import Document
from pml.lsp.hover import Hover
from pml.lsp.project import Project
from pml.lsp.text import Position, Text

_SEVERITIES = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "info": types.DiagnosticSeverity.Information,
}
_COMPLETION_KINDS: Mapping[completion.Kind, types.CompletionItemKind] = {
    "module": types.CompletionItemKind.Module,
    "tag": types.CompletionItemKind.Keyword,
    "attribute": types.CompletionItemKind.Property,
    "argument": types.CompletionItemKind.Field,
    "value": types.CompletionItemKind.EnumMember,
}
_SYMBOL_KINDS: Mapping[places.Kind, types.SymbolKind] = {
    "schema": types.SymbolKind.Package,
    "module": types.SymbolKind.Module,
    "union": types.SymbolKind.Enum,
    "parameter": types.SymbolKind.Variable,
    "scaffold": types.SymbolKind.Array,
    "role": types.SymbolKind.Namespace,
    "prompt": types.SymbolKind.Package,
    "import": types.SymbolKind.Module,
}
_SNIPPET_SIGNS = str.maketrans({"\\": "\\\\", "$": "\\$", "}": "\\}"})


def edit(change: types.TextDocumentContentChangeEvent) -> tuple[Position, Position, str] | str:
    if isinstance(change, types.TextDocumentContentChangePartial):
        return position(change.range.start), position(change.range.end), change.text
    return change.text


def position(given: types.Position) -> Position:
    return Position(given.line, given.character)


def range_of(text: Text, start: int, stop: int) -> types.Range:
    """The range of the offsets [start, stop)."""
    return types.Range(*(types.Position(*text.position(offset)) for offset in (start, stop)))


def diagnostics(document: Document, project: Project) -> list[types.Diagnostic]:
    return [_diagnostic(found, document, project) for found in diagnose(document, project)]


def _diagnostic(found: Diagnostic, document: Document, project: Project) -> types.Diagnostic:
    text, message = document.text, found.message
    start = stop = 0
    assert found.at is not None  # it is of what stands in a document
    if found.at.file == document.uri:
        start = text.offset_of(found.at)
        stop = text.offset_of(found.end) if found.end else start
    else:  # in a file that the document names by `src`
        message = f"{found.at}: {message}"
    related = [
        types.DiagnosticRelatedInformation(location, one.message)
        for one in found.related
        if (location := _location(one.at, document, project)) is not None
    ]
    return types.Diagnostic(
        range=range_of(text, start, stop),
        message=message,
        severity=_SEVERITIES[found.severity],
        code=found.code,
        source="pml",
        related_information=related or None,
        data={"suggestion": found.suggestion} if found.suggestion else None,
    )


def _location(at: Location, document: Document, project: Project) -> types.Location | None:
    """A place in the document or, when it is a prompt, in its schema."""
    if at.file != document.uri:
        read = project.schema_of(document) if document.is_prompt else None
        if read is None or at.file != read.document.uri:
            return None
        document = read.document
    start = document.text.offset_of(at)
    return types.Location(document.uri, range_of(document.text, start, start))


def hover(found: Hover | None, document: Document) -> types.Hover | None:
    if found is None:
        return None
    content = types.MarkupContent(types.MarkupKind.Markdown, found.markdown)
    return types.Hover(content, range_of(document.text, found.start, found.stop))


def completions(
    found: Sequence[completion.Proposal], document: Document, offset: int, has_snippets: bool
) -> types.CompletionList:
    """`has_snippets`: the editor can put its cursor between the quotes of a new attribute."""
    items = []
    for order, one in enumerate(found):
        text = one.before + one.after
        if is_snippet := has_snippets and bool(one.after):
            text = f"{_plain(one.before)}$1{_plain(one.after)}"
        snippet = types.InsertTextFormat.Snippet if is_snippet else None
        items.append(
            types.CompletionItem(
                label=one.label,
                kind=_COMPLETION_KINDS[one.kind],
                detail=one.detail or None,
                sort_text=f"{order:05}",
                text_edit=types.TextEdit(range_of(document.text, one.start, offset), text),
                insert_text_format=snippet,
            )
        )
    return types.CompletionList(is_incomplete=False, items=items)


def _plain(text: str) -> str:
    return text.translate(_SNIPPET_SIGNS)


def has_snippets(capabilities: types.ClientCapabilities) -> bool:
    document = capabilities.text_document
    completion = document.completion if document else None
    item = completion.completion_item if completion else None
    return bool(item and item.snippet_support)


def target(found: places.Target | None) -> types.Location | None:
    if found is None:
        return None
    text = found.document.text if found.document else Text("")
    return types.Location(found.uri, range_of(text, found.start, found.stop))


def symbols(found: Sequence[places.Symbol], document: Document) -> list[types.DocumentSymbol]:
    return [
        types.DocumentSymbol(
            name=one.name,
            kind=_SYMBOL_KINDS[one.kind],
            range=range_of(document.text, one.start, one.stop),
            selection_range=range_of(document.text, one.start, one.name_end),
            children=symbols(one.children, document) or None,
        )
        for one in found
    ]


def formatting(document: Document) -> list[types.TextEdit] | None:
    """The whole text in its canonical form; None where it has none or is in it already."""
    content = document.text.content
    try:
        formatted = format_document(content, document.uri)
    except PMLError:
        return None
    if formatted == content:
        return None
    return [types.TextEdit(range_of(document.text, 0, len(content)), formatted)]

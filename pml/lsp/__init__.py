"""A language server for PML: what an editor shows of schemas and prompts while they are written.

`server` speaks the protocol (it alone needs `pygls`); all else works on plain text and trees, and
copes with documents that are half typed.
"""

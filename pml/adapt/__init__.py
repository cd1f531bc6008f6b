"""Weights that need less of what modules cannot see: trained by a model on itself, without labels.

                 ┌─ under full attention ─► the model ──────────────┐
texts ─► sample ─┤                                                  ├─► KL ─► adapter ─► folder
                 └─ as modules ───────────► the model and an adapter ┘
"""

"""What reuse costs in quality, and what wins it back: questions over documents, asked in many ways.

tasks ─► items ─┐
                ├─► question ─► run (JSONL, resumable) ─► summary (table) ─► plot
modes ──────────┘
"""

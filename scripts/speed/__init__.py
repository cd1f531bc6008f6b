"""What `scripts/bench.py` measures: this runtime, its peers, and the machine's limits."""

"""Other people's checkpoints, seen alike: what `minillm.convert` reads."""

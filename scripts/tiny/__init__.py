"""The tiny checkpoints `weights/tiny-*`: their data, their tokenizer, their training."""

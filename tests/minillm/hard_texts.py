"""Texts that tokenizers get wrong, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

SCRIPTS = (
    "the quick brown fox Jumps OVER 12 lazy dogs' can't won't I'LL they've naïve café façade über "
    "Straße Ἑλλάδα ευχαριστώ Привет, мир! שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก 你好世界 "
    "こんにちは 안녕하세요 ភាសាខ្មែរ Tiếng Việt İstanbul ßẞ \ufb01nal ½ ² ™ … — „quoted“ «oui» 3.14 "
    "1,000,000 ٣٤٥ १२३ Ⅳ e\u0301 A\u030a o\u0308 ñ n\u0303"
)
WORDS = SCRIPTS.split()
EMOJI = ("😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "👍🏽", "❤️", "1️⃣", "🫠", "\U0001f9ff", "🦙")
CODE = (
    "def f(x: int) -> str:\n    return f'{x:>10}'\n",
    'if (a<b && c>=d) { printf("%d\\n", i++); }',
    "SELECT * FROM t WHERE id='x';--",
    '<div class="a">&amp;</div>\n\t\t</body>',
    "\tfor i in range(0,10):\n\t\tprint(i)  # ok\r\n",
    "https://example.org/a_b?c=d&e=%20#f",
    "0xDEADBEEF 1e-9 __init__ ... !!! ??? $$$ ~~~ ``` ===",
)
CONTROL = (
    "<s>", "</s>", "<unk>", "<0x0A>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|padding|>",
    "[INST]", "<<SYS>>", ">>TITLE<<", "<|start_header_id|>", "[PAD50300]", "<pad>",
)  # fmt: skip
BLANKS = (
    " ", "  ", "   ", " " * 7, " " * 25, "\n", "\n\n", "\n \n", "\t", " \t ", "\r\n", "\u00a0",
    "\u3000", "\u200b", "\u200d", "\u2581", "\ufeff", "\u2028", "\v", "\f", "\x00", "\x01", "\x7f",
)  # fmt: skip


def any_character(rng: random.Random) -> str:
    """One of all that Unicode has, surrogates left out."""
    while 0xD800 <= (code := rng.choice((rng.randrange(0x3000), rng.randrange(0x110000)))) < 0xE000:
        pass
    return chr(code)


def hard_texts(count: int, seed: int) -> Iterator[str]:
    """`count` mixtures of words in many scripts, emoji, code, control spellings and blanks."""
    rng = random.Random(seed)
    lists: Sequence[Sequence[str]] = (WORDS, WORDS, EMOJI, CODE, CONTROL, BLANKS, BLANKS)
    kinds: list[Callable[[], str]] = [lambda some=some: rng.choice(some) for some in lists]  # type: ignore[misc]
    kinds.append(lambda: any_character(rng))
    for _ in range(count):
        yield "".join(rng.choice(kinds)() for _ in range(rng.randint(0, 14)))

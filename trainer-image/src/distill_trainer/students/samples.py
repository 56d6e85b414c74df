"""Texts of which tokenizers, templates and settings make different things.

The same for every student: an artifact must not carry its users' texts around.
"""

from collections.abc import Mapping
from typing import Final

QUESTION: Final = "How do I descale a kettle?"
LONG: Final = "Fill the kettle with vinegar, wait for an hour and rinse it twice. "
WORDS: Final = 8
"""Tokens of LONG at least, whatever the tokenizer."""
UNLIMITED: Final = 512
"""Length of the long text, in tokens, for a student that cuts none."""
LONGEST: Final = 16_384
"""Length of the long text at most: one beyond a limit of millions would fill the artifact."""
TEXTS: Final[Mapping[str, str]] = {
    "short": "a",
    "sentence": "The quick brown fox jumps over 13 lazy dogs.",
    "accents": "Größe, naïve façade, Ærø, Zażółć gęślą jaźń, cafe\u0301",
    "scripts": "日本語の文章 한국어 문장 العربية हिन्दी ไทย",
    "symbols": "🙂 👩\u200d👩\u200d👧 ½ ﬁ № 10\u00a0€ \u200bhidden … — “quoted”",
    "white space": "  two  spaces\ta tab\na line\r\nanother  ",
    "special tokens": "[CLS] [SEP] [MASK] <s> </s> <unk> <|endoftext|> <|im_start|>user",
    "code": "SELECT x FROM t WHERE y >= 3.14e-5; -- https://example.org/?q=a%20b&c#d",
}
"""What tokenizers, templates and settings make different things of."""

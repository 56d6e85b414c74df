"""What a student reads of a few texts, kept beside its weights: its server has to read the same.

Made with the functions that make the tokens of training, on the student in memory: whatever saving
and loading it elsewhere changes (template, special tokens, prompts, where texts are cut) shows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from distill_api.teacher import Prompts
from distill_api.token_ids import TOKEN_IDS_FILE, Sample, TextKind, TokenIds
from sentence_transformers import CrossEncoder

from distill_trainer.students import make as student_making
from distill_trainer.students import samples
from distill_trainer.students.rankers import Ranker
from distill_trainer.training import ranking
from distill_trainer.training import tokens as tokenising


def save(prompts: Prompts, student: Ranker, folder: Path) -> None:
    """Write a student as a plain folder, with the file in it."""
    student_making.save(student, folder)
    write(student, prompts, folder)


def write(student: Ranker, prompts: Prompts, folder: Path) -> None:
    """Write the file into the student's folder."""
    content = make(student, prompts).model_dump_json(by_alias=True, exclude_none=True, indent=1)
    (folder / TOKEN_IDS_FILE).write_text(content + "\n", encoding="utf-8")


def make(student: Ranker, prompts: Prompts) -> TokenIds:
    """Tokenise the texts as training does."""
    limit = int(student.max_seq_length) if student.max_seq_length else None
    length = min(limit or samples.UNLIMITED, samples.LONGEST)
    texts = {**samples.TEXTS, "beyond the limit": samples.LONG * (length // samples.WORDS + 2)}
    found = (
        _pairs(student, texts)
        if isinstance(student, CrossEncoder)
        else [
            *_texts(student, texts, TextKind.QUERY, prompts.query),
            *_texts(student, texts, TextKind.DOCUMENT, prompts.document),
        ]
    )
    return TokenIds(max_length=limit, samples=found)


def _texts(student: Ranker, texts: Mapping[str, str], kind: TextKind, prompt: str) -> list[Sample]:
    found = tokenising.tokenise(student, list(texts.values()), [prompt] * len(texts))
    return [
        Sample(name=name, kind=kind, text=text, tokens=ids)
        for (name, text), ids in zip(texts.items(), _rows(found), strict=True)
    ]


def _pairs(student: CrossEncoder, texts: Mapping[str, str]) -> list[Sample]:
    """Each text as a document, and the long one as a query too: either side may be cut."""
    long = texts["beyond the limit"]
    pairs = [(name, samples.QUESTION, text) for name, text in texts.items()]
    pairs.append(("a query beyond the limit", long, samples.TEXTS["sentence"]))
    found = ranking.tokenise(student, [(query, text) for _, query, text in pairs])
    return [
        Sample(name=name, kind=TextKind.PAIR, query=query, text=text, tokens=ids)
        for (name, query, text), ids in zip(pairs, _rows(found), strict=True)
    ]


def _rows(found: tokenising.Tokens) -> Sequence[list[int]]:
    return [
        found.ids[begin:end].tolist()
        for begin, end in zip(found.starts[:-1], found.starts[1:], strict=True)
    ]

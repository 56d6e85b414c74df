"""A real generator and its quantised student for vLLM: a few of SmolLM2's layers, its tokenizer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from distill_api.sources import FromTeacher, Sampling
from distill_api.training import Quantize
from distill_trainer.quantizing import compressing
from distill_trainer.students import causal, chat_ids
from distill_trainer.students.causal import Causal
from distill_trainer.texts import conversation

from examples.embedding import fixtures
from examples.generator import demo

TEACHERS_LAYERS: Final = [0, 10, 20, 29]
STUDENTS_LAYERS: Final = [0, 29]
WIDTH: Final = 64
"""Weights that share a scale: divides SmolLM2's 576 inputs."""


@dataclass(frozen=True, slots=True)
class Writers:
    """URIs of what was pushed."""

    teacher: str
    student: str
    questions: str


def push(registry: str, folder: Path) -> Writers:
    """Publish a teacher of a few layers, a student of fewer in four bits, and questions."""
    demo.write_teacher(folder / "whole")
    whole = causal.load(folder / "whole")
    _teacher(whole, folder / "teacher")
    _student(whole, folder / "student")
    _questions(folder / "questions")
    return Writers(
        *(
            fixtures.push_folder(folder / name, f"{registry}/tests/writing-{name}")
            for name in ("teacher", "student", "questions")
        )
    )


def _teacher(whole: Causal, folder: Path) -> None:
    made = causal.cut(whole, FromTeacher(keep_layers=TEACHERS_LAYERS))
    causal.save(Causal(made.model.to(torch.bfloat16), made.tokenizer), folder)


def _student(whole: Causal, folder: Path) -> None:
    made = causal.cut(whole, FromTeacher(keep_layers=STUDENTS_LAYERS))
    compressing.compress(
        made, Quantize.model_validate({"method": "INT4", "groupSize": WIDTH}), [], folder
    )
    asked = conversation.chat("How is a kettle descaled?", "With vinegar.", Sampling())
    chat_ids.write(made.tokenizer, asked, folder)


def _questions(folder: Path) -> None:
    folder.mkdir()
    rows = (
        {"query": f"What is {n} and {n}?", "context": f"{n} + {n} = {2 * n}", "answer": f"{2 * n}"}
        for n in range(12)
    )
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))

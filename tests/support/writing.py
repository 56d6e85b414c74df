"""A real generator and its quantised student for vLLM: a few of SmolLM2's layers, its tokenizer.

Beside the teacher there is an adapter that a job's own train stage made.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import yaml
from distill_api.names import Stage
from distill_api.student import FromTeacher
from distill_api.teacher import Sampling
from distill_api.training import Quantize
from distill_trainer.quantizing import compressing
from distill_trainer.students import causal, chat_ids
from distill_trainer.students.causal import Causal
from distill_trainer.texts import conversation
from generating_jobs import Job

from examples.embedding import fixtures
from examples.generator import demo

TEACHERS_LAYERS: Final = [0, 10, 20, 29]
STUDENTS_LAYERS: Final = [0, 29]
LORA: Final = Path(__file__).resolve().parents[2] / "examples/generator/lora.yaml"
ASKED: Final = 40
"""Questions: enough to train by."""
WIDTH: Final = 64
"""Weights that share a scale: divides SmolLM2's 576 inputs."""


@dataclass(frozen=True, slots=True)
class Writers:
    """URIs of what was pushed."""

    teacher: str
    student: str
    questions: str
    adapter: str
    """Of the teacher."""
    folder: Path
    """Where all of it lies as well, by these names."""


def push(registry: str, folder: Path) -> Writers:
    """Publish a teacher of a few layers, a student of fewer in four bits, and questions."""
    demo.write_teacher(folder / "whole")
    whole = causal.load(folder / "whole")
    _teacher(whole, folder / "teacher")
    _student(whole, folder / "student")
    _questions(folder / "questions")
    _adapter(folder)
    names = ("teacher", "student", "questions", "adapter")
    pushed = (
        fixtures.push_folder(folder / name, f"{registry}/tests/writing-{name}") for name in names
    )
    return Writers(*pushed, folder=folder)


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
        for n in range(ASKED)
    )
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _adapter(folder: Path) -> None:
    """Train an adapter of the teacher on what the whole SmolLM2 answers, as the example does."""
    job = Job(folder / "job")
    job.spec = yaml.safe_load(LORA.read_text())["spec"]
    job.spec["teacher"]["model"]["uri"] = f"file://{folder / 'whole'}"
    job.spec["student"] = {
        "architecture": "Causal",
        "model": {"uri": f"file://{folder / 'teacher'}"},
    }
    job.spec["data"]["source"]["uri"] = f"file://{folder / 'questions' / 'rows.jsonl'}"
    job.spec["data"]["splits"] = {"train": 60, "validation": 20, "test": 20}
    job.spec["training"]["optimizer"]["learningRate"] = 3e-3  # a few steps have to be seen
    for stage in (Stage.LABEL, Stage.PREPARE, Stage.TRAIN):
        job.run(stage)
    shutil.copytree(job.output(Stage.TRAIN) / "adapter", folder / "adapter")

"""Two ways to teach one student the same: the guide's Trainer, and our loop on cached embeddings.

Both start from the same untrained student, take the same records in the same batches, and minimise
the guide's embedding_distillation_loss, NT-Xent between student and teacher at temperature 0.07,
with AdamW on every weight in float32. What differs is what is compared: the guide runs the teacher
in every step and pads to the maximum length.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from distill_api.recipe import EmbeddingRecipe
from distill_api.student import Student
from distill_api.teacher import Prompts
from distill_api.training import Training
from distill_trainer.students import make
from distill_trainer.training import courses, loop, order, pairs
from distill_trainer.training.checkpoints import Store
from lesson import Lesson
from sentence_transformers import SentenceTransformer
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

TEMPERATURE = 0.07
LEARNING_RATE = 2e-5
SEED = 42


type Compare = Callable[[Any, Any, dict[str, torch.Tensor]], torch.Tensor]
"""Of student, teacher and a batch of inputs, the loss of a step."""


@dataclass(frozen=True, slots=True)
class Loop:
    """One training."""

    seconds: list[float]
    """Of each step."""
    losses: list[float]
    """Of each step."""


def student(lesson: Lesson) -> SentenceTransformer:
    """Make the demo's untrained student."""
    wanted = Student.model_validate(lesson.spec["student"])
    length = lesson.spec["teacher"]["maxLength"]
    return make.make(wanted, lesson.teacher, Prompts(), max_length=length, seed=SEED)


def ours(lesson: Lesson, batch: int, steps: int, scratch: Path) -> Loop:
    """Train with the product's loop."""
    recipe = {"teacherContrastive": {"weight": 1.0, "temperature": TEMPERATURE}}
    training = {
        "maxSteps": steps,
        "batchSize": batch,
        "checkpointSteps": steps,
        "seed": SEED,
        "optimizer": {
            "learningRate": LEARNING_RATE,
            "projectionLearningRate": LEARNING_RATE,
            "warmupRatio": 0,
            "schedule": "Constant",
        },
    }
    told = courses.Lesson(
        EmbeddingRecipe.model_validate(recipe), Training.model_validate(training), Prompts()
    )
    course = courses.gather(student(lesson), lesson.prepared, told, device=torch.device("cpu"))
    found = Loop([], [])

    def tell(_done: int, _total: int, metrics: Mapping[str, float]) -> None:
        found.seconds.append(batch / metrics["examplesPerSecond"])
        found.losses.append(metrics["loss"])

    loop.train(course, Store(scratch, keep=1), loop.Watch(tell=tell))
    return found


def embedding_distillation_loss(
    teacher_emb: torch.Tensor, student_emb: torch.Tensor, temperature: float = TEMPERATURE
) -> torch.Tensor:
    """Give the guide's contrastive loss, word for word: scalar from two [texts, width]."""
    teacher_emb = functional.normalize(teacher_emb, p=2, dim=1)
    student_emb = functional.normalize(student_emb, p=2, dim=1)
    sim_matrix = torch.matmul(student_emb, teacher_emb.t()) / temperature
    labels = torch.arange(student_emb.size(0), device=student_emb.device)
    return functional.cross_entropy(sim_matrix, labels)


def compared_embeddings(
    student: Any, teacher: SentenceTransformer, inputs: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Run student and teacher on the same tokens; returns the guide's loss, a scalar."""
    student_emb = student(dict(inputs))["sentence_embedding"]
    with torch.no_grad():
        teacher_emb = teacher(dict(inputs))["sentence_embedding"]
    return embedding_distillation_loss(teacher_emb, student_emb)


class DistillationTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped to mypy here
    """The guide's DistillationTrainer: it has the teacher beside the student in every step."""

    def __init__(self, compare: Compare, teacher_model: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.compare = compare
        self.teacher = teacher_model
        self.losses: list[float] = []

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], *_: Any, **__: Any
    ) -> torch.Tensor:
        """Compare student and teacher."""
        loss = self.compare(model, self.teacher, inputs)
        self.losses.append(float(loss.detach()))
        return loss


class Clock(TrainerCallback):  # type: ignore[misc]  # as above
    """Takes the seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start a step."""
        self.began = time.monotonic()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """End a step."""
        self.seconds.append(time.monotonic() - self.began)


class Texts(Dataset[tuple[str, str]]):
    """The train records, query and document, in the order of our steps."""

    def __init__(self, prepared: Path, batch: int, steps: int) -> None:
        text = pq.read_table(prepared / "texts.parquet", columns=["text"])["text"].to_pylist()
        train = pairs.load(prepared, "train")
        self.records = [
            (text[train.queries[row]], text[train.documents[row]])
            for step in range(steps)
            for row in order.records(len(train), batch, step, seed=SEED)
        ]

    def __len__(self) -> int:
        """Count the records."""
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[str, str]:
        """Return one record."""
        return self.records[index]


def guides_arguments(
    scratch: Path, batch: int, steps: int, rate: float, *, on_cpu: bool = True, **more: Any
) -> TrainingArguments:
    """Return how the guide's Trainer takes our batches in our order, at one learning rate."""
    return TrainingArguments(
        output_dir=str(scratch),
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=rate,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        train_sampling_strategy="sequential",
        logging_steps=100,
        save_strategy="no",
        report_to=[],
        use_cpu=on_cpu,
        remove_unused_columns=False,
        disable_tqdm=True,
        seed=SEED,
        **more,
    )


def by_trainer(compare: Compare, student: Any, teacher: Any, **keywords: Any) -> Loop:
    """Train a student with the guide's DistillationTrainer; keywords: more of the Trainer's."""
    clock = Clock()
    trainer = DistillationTrainer(compare, teacher, model=student, callbacks=[clock], **keywords)
    trainer.train()
    return Loop(clock.seconds, trainer.losses)


def guide(lesson: Lesson, batch: int, steps: int, scratch: Path) -> Loop:
    """Train with the guide's loop."""
    model, teacher = student(lesson), make.load(lesson.teacher).eval()
    length = lesson.spec["teacher"]["maxLength"]

    def collate(records: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
        texts = [text for record in records for text in record]
        padded: dict[str, torch.Tensor] = dict(
            model.tokenizer(
                texts,
                max_length=length,
                truncation=True,
                padding="max_length",
                return_tensors="pt",
            )
        )
        return padded

    arguments = guides_arguments(scratch, batch, steps, LEARNING_RATE, dataloader_drop_last=True)
    return by_trainer(
        compared_embeddings,
        model,
        teacher,
        args=arguments,
        train_dataset=Texts(lesson.prepared, batch, steps),
        data_collator=collate,
    )

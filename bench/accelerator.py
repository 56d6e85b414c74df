"""`python bench/accelerator.py`: the guide's Trainer and our loop, side by side on an accelerator.

No data and no weights are needed: the models have random weights and the shapes of SmolLM2-1.7B
(teacher) and SmolLM2-135M (student); prompts and answers are random tokens, as long as questions
with retrieved passages and short answers are. All loops take the same answers in the same batches,
minimise (1 - alpha) x cross-entropy + alpha x KL over the tokens of the answers, compute in
bfloat16 and keep weights in float32. The guide's pads to the maximum length and runs the teacher
in every step, on a copy in bfloat16, as its Trainer leaves the teacher's precision to the caller.
Ours computes by deterministic kernels, so that a killed training ends bit-equal.
"""

import copy
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402 - the path comes first
import torch  # noqa: E402
from causal_loops import ALPHA, RATE, SEED, compared_answers, laid_out  # noqa: E402
from distill_api.recipe import GeneratorRecipe  # noqa: E402
from distill_api.training import Training  # noqa: E402
from distill_trainer.students.causal import Causal  # noqa: E402
from distill_trainer.teachers import local_generator  # noqa: E402
from distill_trainer.training import loop, order, runtime  # noqa: E402
from distill_trainer.training.checkpoints import Store  # noqa: E402
from distill_trainer.training.generating import GeneratorCourse  # noqa: E402
from distill_trainer.training.sequences import Taught  # noqa: E402
from loops import by_trainer, guides_arguments  # noqa: E402
from tables import table  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

VOCABULARY: Final = 49_152
BATCH: Final = 32
STEPS: Final = 10
WARM_UP: Final = 3
"""Steps that are not counted."""
TOP: Final = 32
"""Tokens that are cached of each distribution."""
TOGETHER: Final = 16
"""Answers of one forward pass of the labelling teacher."""
TEACHER: Final = LlamaConfig(
    vocab_size=VOCABULARY, hidden_size=2048, intermediate_size=8192, num_hidden_layers=24,
    num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=2048,
    tie_word_embeddings=True,
)  # fmt: skip
STUDENT: Final = LlamaConfig(
    vocab_size=VOCABULARY, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
    num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=2048,
    tie_word_embeddings=True,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """What one loop did."""

    name: str
    tokens: float
    """Tokens of prompts and answers a second, padding left out: median of the steps."""
    gigabytes: float
    """Of the accelerator's memory, at most."""
    loss: float
    """Of the last step."""


def main() -> None:
    """Measure all loops, print the table."""
    device = runtime.settle(threads=8, gpus=1)
    examples = answers(BATCH * STEPS)
    teacher = model(TEACHER, device, seed=0)
    labelled, seconds = label(teacher, examples)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        rows = [
            guide(teacher, examples, scratch / "guide"),
            ours("our loop, teacher in every step", examples, teacher, scratch / "online"),
            ours("our loop, cached", labelled, None, scratch / "cached"),
            ours("our loop, cached and packed", labelled, None, scratch / "packed", packing=True),
        ]
    card = torch.cuda.get_device_name()
    print(f"{card}, PyTorch {torch.__version__}, {BATCH} answers a step, {STEPS} steps")
    pace = rows[0].tokens
    cells = [
        [one.name, f"{one.tokens:,.0f} ({one.tokens / pace:.2f}x)", f"{one.gigabytes:.1f}",
         f"{one.loss:.3f}"]
        for one in rows
    ]  # fmt: skip
    print(*table(["generator", "tokens per second", "GiB", "loss at the end"], cells), sep="\n")
    every = sum(map(len, examples))
    print(f"Labelling in float32: {every / seconds:,.0f} tokens per second")


def answers(count: int) -> list[Taught]:
    """Make prompts of some hundred tokens and answers of some dozen."""
    generator = np.random.default_rng(SEED)
    prompts = np.clip(generator.lognormal(math.log(256), 0.6, count), 64, 896).astype(int)
    targets = np.clip(generator.lognormal(math.log(64), 0.5, count), 16, 192).astype(int)
    return [
        Taught(generator.integers(1, VOCABULARY, prompt), generator.integers(1, VOCABULARY, target))
        for prompt, target in zip(prompts.tolist(), targets.tolist(), strict=True)
    ]


def model(config: LlamaConfig, device: torch.device, seed: int) -> Causal:
    """Make a model of random weights."""
    torch.manual_seed(seed)
    with torch.device(device):
        made = LlamaForCausalLM(config).eval()
    return Causal(made, SimpleNamespace(pad_token_id=0))


def label(teacher: Causal, examples: Sequence[Taught]) -> tuple[list[Taught], float]:
    """Cache the teacher's distributions; returns the seconds, too."""
    began = time.monotonic()
    by_length = sorted(range(len(examples)), key=lambda place: len(examples[place]))
    found = list(examples)
    for begin in range(0, len(by_length), TOGETHER):
        places = by_length[begin : begin + TOGETHER]
        prompts = [examples[place].prompt.tolist() for place in places]
        written = [examples[place].target.tolist() for place in places]
        told = local_generator.top_k(teacher, prompts, written, TOP)
        for place, cached in zip(places, told, strict=True):
            found[place] = Taught(examples[place].prompt, examples[place].target, cached)
    return found, time.monotonic() - began


def ours(
    name: str, examples: Sequence[Taught], teacher: Causal | None, scratch: Path, **more: Any
) -> Found:
    """Train with the product's loop."""
    device = runtime.settle(threads=8, gpus=1)
    told = {"maxSteps": STEPS, "batchSize": BATCH, "checkpointSteps": STEPS, "seed": SEED}
    optimizer = {"learningRate": RATE, "warmupRatio": 0, "schedule": "Constant"}
    settings = {**told, "precision": "BFloat16", "optimizer": optimizer, **more}
    course = GeneratorCourse(
        recipe=GeneratorRecipe.model_validate({"logits": {"alpha": ALPHA, "temperature": 1}}),
        training=Training.model_validate(settings),
        writer=model(STUDENT, device, seed=1),
        examples=examples,
        validation=examples[:BATCH],
        device=device,
        vocabulary=VOCABULARY,
        teacher=teacher,
    )
    paces: list[float] = []
    losses: list[float] = []

    def tell(done: int, _total: int, metrics: Mapping[str, float]) -> None:
        chosen = batch(examples, done - 1)
        seconds = sum(len(one.target) for one in chosen) / metrics["examplesPerSecond"]
        paces.append(sum(map(len, chosen)) / seconds)
        losses.append(metrics["loss"])

    torch.cuda.reset_peak_memory_stats()
    loop.train(course, Store(scratch, keep=1), loop.Watch(tell=tell))
    return _found(name, paces, losses)


def guide(teacher: Causal, examples: Sequence[Taught], scratch: Path) -> Found:
    """Train with the guide's loop, by whatever kernels are fastest."""
    torch.use_deterministic_algorithms(False)
    student = model(STUDENT, torch.device("cuda"), seed=1).model
    in_bfloat16 = copy.deepcopy(teacher.model).to(torch.bfloat16)
    torch.cuda.reset_peak_memory_stats()
    trained = by_trainer(
        compared_answers,
        student,
        in_bfloat16,
        args=guides_arguments(scratch, BATCH, STEPS, RATE, on_cpu=False, bf16=True),
        train_dataset=laid_out(examples, BATCH, STEPS, 0),
    )
    sizes = [sum(map(len, batch(examples, step))) for step in range(STEPS)]
    paces = [size / seconds for size, seconds in zip(sizes, trained.seconds, strict=True)]
    return _found("the guide's Trainer", paces, trained.losses)


def batch(examples: Sequence[Taught], step: int) -> list[Taught]:
    """Return the answers of a step."""
    return [examples[place] for place in order.records(len(examples), BATCH, step, seed=SEED)]


def _found(name: str, paces: Sequence[float], losses: Sequence[float]) -> Found:
    most = torch.cuda.max_memory_allocated() / 2**30
    print(f"{name}: {', '.join(f'{pace:,.0f}' for pace in paces)} tokens per second", flush=True)
    return Found(name, median(paces[WARM_UP:]), most, losses[-1])


if __name__ == "__main__":
    main()

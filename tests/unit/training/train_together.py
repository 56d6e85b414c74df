"""One of the processes that train tiny students together; what it finds goes into files.

All strategies and components are gone through by the same processes: most of a process's time is
its start.
"""

import argparse
import copy
import json
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import test_generator_course
import test_loop
import test_seq2seq_course
import tiny_causal
import tiny_models
import tiny_transforms
import torch
from distill_api.recipe import GeneratorRecipe, QueryTransformRecipe, RerankerRecipe
from distill_api.student import Student
from distill_api.teacher import Prompts
from distill_api.training import Lora, Training
from distill_api.training import Strategy as Name
from distill_trainer.distributed import strategies, world
from distill_trainer.distributed.strategy import Alone, Strategy, trained
from distill_trainer.distributed.world import World
from distill_trainer.errors import TryAgain
from distill_trainer.students import adapters, rankers
from distill_trainer.training import loop, reranking, runtime
from distill_trainer.training.checkpoints import Standing, Store
from distill_trainer.training.generating import GeneratorCourse, Layers
from distill_trainer.training.seq2seq import Seq2SeqCourse
from distill_trainer.training.text_course import Writer
from peft.tuners.lora import LoraModel
from torch import Tensor, nn

LOSSES: dict[str, dict[str, object]] = {
    "contrastive": {"contrastive": {"symmetric": True}},
    "teacherContrastive": {"teacherContrastive": {}},
    "marginMse": {"marginMse": {}},
    "matryoshka": {"mse": {}, "cosine": {}, "matryoshka": {"dimensions": [8]}},
    "every": test_loop.EVERY,
}
INSIDE: dict[str, object] = {
    "outputs": {"labelSmoothing": 0.1},
    "logits": {},
    "hiddenStates": {},
    "attentions": {"weight": 0.5},
}
LISTS: dict[str, object] = {
    "marginMse": {},
    "hingeMargin": {"weight": 0.5},
    "listwiseKl": {},
    "contrastive": {"weight": 0.1},
}
SPLITS: dict[str, dict[str, object]] = {
    "whole": {},
    "parts": {"microBatchSize": 1},
    "checkpointed": {"gradientCheckpointing": True, "microBatchSize": 2},
}
EXACT = (Name.DDP, Name.FSDP2)
"""All but embeddings are compared in float64 here; DeepSpeed refuses it."""
CASES = (
    "embedding/every",
    "reranker/CrossEncoder",
    "querytransform/Causal",
    "querytransform/Seq2Seq",
    "generator/inside",
)
WRITTEN = ("generator/packed/whole", "generator/bfloat16/whole")
ADAPTED = ("reranker/lora/parts", "generator/lora/parts")
SEVERAL_WAYS = ("querytransform/Seq2Seq", "generator/inside")
"""What is looked at in one pass and in several with every strategy."""
TRAINING = {"maxSteps": 6, "checkpointSteps": 2, "validationSteps": 3}
CLIPPED = {"optimizer": {"maxGradientNorm": 0.1}}
KILLED_AFTER = 5
ANSWERS = 7

Course = Any
Courses = dict[tuple[str, str | bool], Course]


class Killed(Exception):
    """Ends a training at once, without a checkpoint."""


class Made:
    """Makes the courses of all components, each of students of its own."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.world = tiny_models.World(None, given.prepared)  # type: ignore[arg-type] - nobody asks it

    def embedding(self, loss: str = "every", **changes: object) -> Course:
        return test_loop.course(
            self.world, self.given.teacher, device=self.given.device, recipe=LOSSES[loss], **changes
        )

    def reranker(self, architecture: str, *, exact: bool = False, **changes: object) -> Course:
        """exact: in float64, so that the order of sums does not show."""
        wanted = {"fromTeacher": {"keepLayers": [0]}, "architecture": architecture}
        student = rankers.make_ranker(
            Student.model_validate(wanted), self.given.ranker, Prompts(), max_length=None, seed=1
        )
        lesson = reranking.Lesson(
            RerankerRecipe.model_validate(LISTS),
            Training.model_validate({"batchSize": 6, **changes}),
            Prompts(),
        )
        setting = reranking.Setting(self.given.device)
        made = reranking.gather(student, self.given.prepared, lesson, setting)
        if exact:
            made.student.double()
            made.scale.double()
        return made

    def generator(
        self, recipe: dict[str, object] = INSIDE, *, exact: bool = False, **changes: object
    ) -> Course:
        """exact: in float64, so that the order of sums does not show."""
        asked = GeneratorRecipe.model_validate(recipe)
        teacher = tiny_causal.model() if asked.logits else None
        student = tiny_causal.model(layers=2, hidden=16, seed=1)
        kind = torch.float64 if exact else torch.float32
        for one in (student, teacher):
            if one is not None:
                one.model.to(self.given.device, kind)
                one.model.set_attn_implementation("eager")
        training = settings(student, batchSize=5, **changes)
        layers = Layers([1, 3], [1, 3]) if asked.hidden_states else Layers()
        wider = {str(layer): nn.Linear(16, 32, bias=False) for layer in range(len(layers.states))}
        examples = test_generator_course.some(student, ANSWERS)
        return GeneratorCourse(
            recipe=asked,
            training=training,
            writer=student,
            examples=examples,
            validation=examples,
            device=self.given.device,
            vocabulary=len(student.tokenizer),
            teacher=teacher,
            layers=layers,
            projections=nn.ModuleDict(wider).to(self.given.device, kind),
        )

    def query_transform(
        self, architecture: str = "Seq2Seq", *, exact: bool = False, **changes: object
    ) -> Course:
        """exact: in float64, so that the order of sums does not show."""
        losses: dict[str, object] = {"outputs": {"labelSmoothing": 0.1}, "logits": {}}
        recipe = QueryTransformRecipe.model_validate(losses)
        if architecture == "Causal":
            return replace(self.generator(losses, exact=exact, **changes), recipe=recipe)
        student = tiny_transforms.encoder_decoder(2, padded=3)
        teacher = tiny_transforms.encoder_decoder(1)
        examples = test_seq2seq_course.some(student, 9, teacher)
        student.model.to(self.given.device, torch.float64 if exact else torch.float32)
        return Seq2SeqCourse(
            recipe=recipe,
            # Four passes for each of two processes, one text at a time.
            training=settings(student, batchSize=8, **changes),
            writer=student,
            examples=examples,
            validation=examples,
            device=self.given.device,
            vocabulary=student.known,
        )

    def adapted(
        self,
        component: str = "generator",
        *,
        exact: bool = False,
        quantized: bool = False,
        **changes: object,
    ) -> Course:
        """Put adapters in a student, which have said something already: all have a gradient."""
        if component == "reranker":
            course = self.reranker("CrossEncoder", exact=exact, **changes)
            body, layers = course.student[0].auto_model, ["query", "value", "dense"]
        else:
            whole = self.generator({"outputs": {}}, exact=exact, **changes)
            course = AdaptedCourse(**{one.name: getattr(whole, one.name) for one in fields(whole)})
            body, layers = course.student, ["q_proj", "k_proj", "v_proj", "o_proj"]
        if quantized:
            adapters.quantize(body)
        tuner = adapters.attach(body, Lora(rank=4, dropout=0, target_modules=layers), seed=1)
        if component == "reranker":
            adapters.train_head(body)
            return course
        chance = torch.Generator().manual_seed(2)
        for name, parameter in body.named_parameters():
            if ".lora_B." in name:
                parameter.data.copy_(torch.empty(parameter.shape).normal_(0, 0.1, generator=chance))
        return replace(course, tuner=tuner)


@dataclass(frozen=True, slots=True)
class AdaptedCourse(GeneratorCourse):
    """A student with adapters, and what saves them alone."""

    tuner: LoraModel | None = None


def settings(student: Writer, **changes: object) -> Training:
    """Return settings of a training, and have the student do what they say of its activations."""
    made = Training.model_validate(changes)
    if made.gradient_checkpointing:
        runtime.checkpoint_activations(student.model)
    return made


def keys(name: Name) -> list[str]:
    """Name what is compared with one process: component, losses or architecture, split."""
    if name is Name.DDP:
        found = [f"{case}/{split}" for case in CASES for split in SPLITS]
        found += [f"embedding/{loss}/parts" for loss in LOSSES if loss != "every"]
        found += ["reranker/BiEncoder/parts", "reranker/LateInteraction/parts"]
        return [*found, *WRITTEN, *ADAPTED, "generator/qlora/parts"]
    # What the strategies share was looked at with DDP.
    found = [*(f"{case}/parts" for case in CASES), *ADAPTED]
    found += [f"{case}/whole" for case in SEVERAL_WAYS]
    if name in (Name.FSDP2, Name.ZERO2):
        found += [*(f"{case}/checkpointed" for case in SEVERAL_WAYS), *WRITTEN]
    return found


def course(made: Made, key: str, *, exact: bool) -> Course:
    """Make what a name stands for; without a split, all in one pass."""
    component, what, *split = key.split("/")
    changes = dict(SPLITS[split[0]]) if split else {}
    if what.endswith("lora"):
        return made.adapted(component, exact=exact, quantized=what == "qlora", **changes)
    if component == "embedding":
        return made.embedding(what, **changes)
    if component == "reranker":
        return made.reranker(what, exact=exact, **changes)
    if component == "querytransform":
        return made.query_transform(what, exact=exact, **changes)
    if what == "inside":
        return made.generator(exact=exact, **changes)
    how = {"packing": bool(split)} if what == "packed" else {"precision": "BFloat16"}
    return made.generator({"outputs": {}}, exact=exact and what == "packed", **how)


def still(student: nn.Module) -> None:
    """Switch dropout off: its draws differ from process to process."""
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def gradients(made: Course, strategy: Strategy) -> dict[str, Tensor]:
    """Return the gradients of the first step, by number of the parameter."""
    torch.manual_seed(1)
    still(made.student)
    made.begin()
    adamw = made.optimiser()
    adamw.zero_grad()
    made = made.shared(strategy)
    strategy.wrap(made.student, made.helpers, adamw)
    strategy.taught(made.student).train()
    loss = made.learn(0).loss
    parameters = trained(adamw)
    strategy.clip(adamw, float("inf"))
    found = strategies.gradients(strategy, parameters)
    strategy.finish()
    return {"loss": torch.tensor(loss)} | found


def weights(made: Course) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in made.student.state_dict().items()}


Train = Callable[[Course, Path, loop.Watch], Standing]


def endings(make: Callable[[], Course], train: Train, folder: Path) -> Iterator[tuple[str, Any]]:
    """Train in one go, then killed after a step and begun again: weights and curve of both."""
    one = make()
    yield "undisturbed", (one, train(one, folder / "whole", loop.Watch()))
    try:
        train(make(), folder / "killed", loop.Watch(stop=killer(KILLED_AFTER)))
    except Killed:
        torch.rand(3)
    one = make()
    yield "killed", (one, train(one, folder / "killed", loop.Watch()))


def killer(step: int) -> Callable[[], bool]:
    """Raise when the loop asks for the step-th time."""
    asked = []

    def stop() -> bool:
        asked.append(1)
        if len(asked) == step:
            raise Killed
        return False

    return stop


def stopped(made: Course, folder: Path, here: World, strategy: Strategy) -> list[int]:
    """Ask one of the processes to go after its third step; return the checkpoints."""
    asked = []

    def stop() -> bool:
        asked.append(1)
        return here.rank == here.size - 1 and len(asked) == 3

    store = Store(folder)
    try:
        loop.train(made.shared(strategy), store, loop.Watch(stop=stop), strategy)
    except TryAgain:
        return [len(asked), *here.told(store.steps())]
    return []


TRAININGS: dict[str, Callable[[Made], Course]] = {
    "adapted": lambda made: made.adapted(**TRAINING, **CLIPPED),
    "embedding": lambda made: made.embedding(**TRAINING),
    "generator": lambda made: made.generator(**TRAINING, **CLIPPED),
    "querytransform": lambda made: made.query_transform(**TRAINING, **CLIPPED),
    "quantized": lambda made: made.adapted(quantized=True, **TRAINING),
    "reranker": lambda made: made.reranker("CrossEncoder", **TRAINING),
}


TRAININGS_OF = {
    Name.DDP: ("adapted", "embedding", "generator", "quantized", "querytransform", "reranker"),
    Name.FSDP2: ("adapted", "embedding", "generator", "querytransform"),
    Name.ZERO1: ("adapted", "generator", "querytransform"),
    Name.ZERO2: ("adapted", "generator", "querytransform"),
    Name.ZERO3: ("adapted", "generator", "querytransform"),
}


def do(given: argparse.Namespace, here: World, name: Name, made: Courses) -> None:
    """Do everything with one strategy, and write down what this process found."""

    def strategy() -> Strategy:
        return strategies.several(name, here)

    def train(course: Course, place: Path, watch: loop.Watch) -> Standing:
        own = strategy()
        return loop.train(course.shared(own), Store(place), watch, own)

    found: dict[str, Tensor] = {}
    told: dict[str, Any] = {}
    folder = given.folder / name.value / str(here.rank)
    for kind in TRAININGS_OF[name]:
        fresh = partial(copy.deepcopy, made["training", kind])
        for ending, (one, standing) in endings(fresh, train, folder / kind):
            found |= {f"{kind}/{ending}/{key}": value for key, value in weights(one).items()}
            told[f"{kind}/{ending}"] = standing.curve
            if isinstance(one, AdaptedCourse) and here.first:
                adapters.save(one.tuner, folder / kind / "adapter")
    if name is Name.DDP:
        fresh = partial(copy.deepcopy, made["training", "embedding"])
        told["stopped"] = stopped(fresh(), folder / "stopped", here, strategy())
    for key in keys(name) if given.gradients else []:
        # No step is done, and so every strategy has the same weights.
        of_one = gradients(made[key, exactly(name, key)], strategy())
        found |= {f"{key}/{number}": value for number, value in of_one.items()}
    torch.save(
        {key: value.cpu() for key, value in found.items()}, given.folder / f"{name}-{here.rank}.pt"
    )
    (given.folder / f"{name}-{here.rank}.json").write_text(json.dumps(told))


def prepare(given: argparse.Namespace) -> Courses:
    """Make every course before the processes join: students are cut in each of them alone."""
    made = Made(given)
    found: Courses = {("training", kind): make(made) for kind, make in TRAININGS.items()}
    for name in given.strategies if given.gradients else []:
        for key in keys(name):
            exact = exactly(name, key)
            if (key, exact) not in found:
                found[key, exact] = course(made, key, exact=exact)
    return found


def exactly(name: Name, key: str) -> bool:
    """Tell whether something is compared in float64."""
    return name in EXACT and not key.startswith("embedding/") and "/qlora/" not in key


def alone(given: Any, component: str, what: str, *, exact: bool) -> dict[str, Tensor]:
    """Return the gradients of one process, in one pass, for what several have done."""
    return gradients(course(Made(given), f"{component}/{what}", exact=exact), Alone())


def arguments() -> argparse.Namespace:
    """Read what is to be done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("prepared", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("ranker", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strategies", nargs="+", type=Name, default=[Name.DDP])
    parser.add_argument("--no-gradients", dest="gradients", action="store_false")
    parser.add_argument("--gpus", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Join the other processes, then go through the strategies."""
    given = arguments()
    given.device = runtime.settle(threads=1, gpus=given.gpus)
    made = prepare(given)
    with world.joined(given.device) as here:
        for name in given.strategies:
            do(given, here, name, made)


if __name__ == "__main__":
    try:
        main()
    except BaseException:  # noqa: BLE001 - the outermost door of the process
        traceback.print_exc()
        # Threads of the process group must not keep a failed process alive.
        os._exit(1)

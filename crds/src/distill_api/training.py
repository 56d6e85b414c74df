"""How training runs: optimiser, batches, adapters, precision, several pods, sweeps."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distill_api.base import (
    Fraction,
    Model,
    NonNegativeInt,
    PositiveInt,
    ShortText,
    rule,
    rules,
    text,
)


class Schedule(StrEnum):
    """How the learning rate moves after warm-up."""

    LINEAR = "Linear"
    COSINE = "Cosine"
    CONSTANT = "Constant"


class Optimizer(Model):
    """AdamW and its schedule."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-5
    """Peak learning rate; the guide's 1e-5 to 5e-5, lower for larger models."""
    weight_decay: Fraction = 0.01
    """Decoupled weight decay; the guide's 0.01 to 0.1."""
    warmup_ratio: Fraction = 0.1
    """Share of the steps over which the learning rate rises; the guide's 5 to 10 %."""
    schedule: Schedule = Schedule.LINEAR
    """How the learning rate falls afterwards."""
    max_gradient_norm: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Gradients are clipped to this norm; 0 clips nothing."""
    projection_learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Learning rate of new projections; 10 times the student's by default, as they start from
    nothing."""


class Precision(StrEnum):
    """Number format of the forward and backward pass; weights stay in float32.

    There is no Float16: T5 and its like overflow in it.
    """

    FLOAT32 = "Float32"
    BFLOAT16 = "BFloat16"


class MergeInto(StrEnum):
    """The weights that trained adapters are added to."""

    BETTER = "Better"
    ORIGINAL = "Original"
    DEQUANTIZED = "Dequantized"
    FOUR_BIT = "FourBit"


class Lora(Model):
    """Train low-rank adapters only, and merge them into the student at the end."""

    model_config = rules(
        rule(
            "self.mergeInto != 'FourBit'",
            "lora.mergeInto FourBit would round away most of what the adapters learnt: use Better,"
            " which merges in full precision, and make the merged student smaller afterwards",
            at=".mergeInto",
        ),
        rule(
            "self.mergeInto != 'Dequantized' || self.quantizedBase",
            "lora.mergeInto Dequantized needs weights that were held in 4 bits: set quantizedBase,"
            " or use Original",
            at=".mergeInto",
        ),
    )

    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Rank of the adapters; the guide's 4 to 16."""
    alpha: Annotated[int, Field(ge=1, le=4096)] = 16
    """What the adapters say is multiplied by alpha / rank."""
    dropout: Fraction = 0.05
    """Dropout before the adapters."""
    target_modules: Annotated[list[ShortText], Field(min_length=1, max_length=64)] | None = None
    """Names of the adapted modules; the attention's query and value projections by default."""
    quantized_base: bool = False
    """QLoRA: hold the frozen weights in 4-bit NF4 while the adapters are trained."""
    merge_into: MergeInto = MergeInto.BETTER
    """Weights that the adapters are added to, in full precision: the original ones, the dequantised
    ones that a quantizedBase was trained over, or the better of both on the validation split."""


class Strategy(StrEnum):
    """How several processes share a model."""

    DDP = "DDP"
    FSDP2 = "FSDP2"
    ZERO1 = "ZeRO1"
    ZERO2 = "ZeRO2"
    ZERO3 = "ZeRO3"


class Distributed(Model):
    """Several pods train one student."""

    pods: Annotated[int, Field(ge=1, le=1024)] = 1
    """Pods of the train stage."""
    processes_per_pod: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes in each pod, one for each accelerator."""
    strategy: Strategy = Strategy.DDP
    """DDP up to about 3 billion parameters, FSDP2 above, ZeRO through DeepSpeed."""


class EarlyStopping(Model):
    """Stop when the validation score no longer rises."""

    patience: Annotated[int, Field(ge=1, le=1000)] = 3
    """Validations without a better score."""
    min_improvement: Annotated[float, Field(ge=0, le=1)] = 0.0
    """A smaller rise does not count."""


_LENGTH_RULE = rule(
    "has(self.epochs) != has(self.maxSteps)",
    "training needs exactly one of epochs and maxSteps",
)


class Training(Model):
    """How the student is trained."""

    model_config = rules(
        _LENGTH_RULE,
        rule(
            "!has(self.microBatchSize) || self.microBatchSize <= self.batchSize",
            "training.microBatchSize must not be above batchSize, which it is a part of",
            at=".microBatchSize",
        ),
    )

    epochs: Annotated[float, Field(gt=0, le=10000)] | None = None
    """Passes over the training records."""
    max_steps: PositiveInt | None = None
    """Optimiser steps."""
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 32
    """Records of one optimiser step, over all pods. Contrastive losses like 256 to 512."""
    micro_batch_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Records of one forward pass; gradients are accumulated up to batchSize."""
    optimizer: Optimizer = Optimizer()
    """AdamW and its schedule."""
    precision: Precision = Precision.FLOAT32
    """Number format of the forward and backward pass."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: slower, with less memory."""
    packing: bool = False
    """Put several short answers with their prompts in one row, each with positions of its own, so
    that no padding is computed."""
    freeze_embeddings: bool = False
    """Leave the word embeddings as they are: faster, and often as good for a student that was
    made from its teacher."""
    checkpoint_steps: PositiveInt = 500
    """A checkpoint is written every this many steps; a lost pod goes on from the last one."""
    keep_checkpoints: Annotated[int, Field(ge=1, le=100)] = 2
    """Checkpoints kept beside the best one."""
    validation_steps: PositiveInt | None = None
    """The student is validated every this many steps; checkpointSteps by default."""
    early_stopping: EarlyStopping | None = None
    """Stop when the validation score no longer rises; never by default."""
    lora: Lora | None = None
    """Train low-rank adapters only; every weight by default."""
    distributed: Distributed = Distributed()
    """Several pods."""
    seed: NonNegativeInt = 42
    """Of every random choice: splits, order, dropout, new weights."""


class QuantizationMethod(StrEnum):
    """How weights become smaller after training."""

    INT8 = "INT8"
    INT4 = "INT4"
    GPTQ = "GPTQ"
    AWQ = "AWQ"


class Quantize(Model):
    """Make the trained student's weights smaller."""

    model_config = rules(
        rule(
            "self.groupSize != 0",
            "quantize.groupSize must be -1 (whole rows) or at least 1",
            at=".groupSize",
        ),
        rule(
            "self.bits == 4 || self.bits == 8",
            "quantize.bits must be 4 or 8: servers read no others",
            at=".bits",
        ),
        rule(
            "!self.awareTraining || self.method == 'INT4' || self.method == 'INT8'",
            "quantize.awareTraining is for method INT4 or INT8: GPTQ and AWQ would move the weights"
            " away from where training has put them",
            at=".awareTraining",
        ),
    )

    method: QuantizationMethod
    """INT8: ONNX graphs of embeddings, rerankers and Seq2Seq students; 8-bit weights and
    activations of other students that write. INT4 rounds weights to nearest; GPTQ and AWQ
    calibrate."""
    bits: Annotated[int, Field(ge=2, le=8)] = 4
    """Bits of a weight, for GPTQ and AWQ: 4 or 8."""
    group_size: Annotated[int, Field(ge=-1, le=4096)] = 128
    """Weights that share one scale, for INT4, GPTQ and AWQ; -1 for whole rows. It has to divide the
    inputs of every layer; vLLM's kernels read -1, 32, 64 and 128."""
    calibration_records: PositiveInt = 512
    """Records of the training split that calibrate, for GPTQ, AWQ and INT8 of what writes."""
    max_loss: Annotated[float, Field(ge=0, le=1)] | None = None
    """Largest share of the float student's quality that may be lost, on the validation split; more
    fails the stage. By default 0.02 for INT8, 0.10 for INT4, 0.05 for GPTQ and AWQ."""
    aware_training: bool = False
    """Round in every pass of training, too (QAT), so that the weights get used to it: with INT8,
    and with INT4 for what writes. They are then rounded to nearest by the same scheme, and no
    records calibrate."""


class SweepAlgorithm(StrEnum):
    """How trials are chosen."""

    GRID = "Grid"
    RANDOM = "Random"
    BAYESIAN = "Bayesian"


class SweepParameter(Model):
    """One field of the recipe or the training that varies."""

    model_config = rules(
        rule(
            "has(self.values) ? !has(self.min) && !has(self.max)"
            " : has(self.min) && has(self.max) && self.min < self.max",
            "a sweep parameter needs either values, or min and a larger max",
        ),
        rule(
            "!self.logScale || (has(self.min) && self.min > 0.0)",
            "logScale needs a min above 0, as zero has no logarithm",
            at=".min",
        ),
    )

    path: Annotated[
        str,
        text(
            r"^(recipe|training|student)(\.[a-zA-Z0-9]+)+$",
            "path must be a field below recipe, training or student, for example"
            " recipe.embedding.contrastive.temperature",
            most=256,
        ),
    ]
    """Path below spec, for example `recipe.embedding.contrastive.temperature`."""
    values: Annotated[list[ShortText], Field(min_length=1, max_length=64)] | None = None
    """Values to try, written as JSON."""
    min: float | None = None
    """Lower end of a range."""
    max: float | None = None
    """Upper end of a range."""
    log_scale: bool = False
    """Draw from the logarithm of the range."""


class Sweep(Model):
    """Train several students and keep the one that validates best."""

    model_config = rules(
        rule(
            "self.algorithm != 'Grid' || self.parameters.all(p, has(p.values))",
            "algorithm Grid tries every combination, so each parameter needs values: list some, or"
            " use Bayesian or Random for a range",
            at=".parameters",
        )
    )

    algorithm: SweepAlgorithm = SweepAlgorithm.BAYESIAN
    """How trials are chosen."""
    parameters: Annotated[list[SweepParameter], Field(min_length=1, max_length=16)]
    """What varies."""
    max_trials: Annotated[int, Field(ge=1, le=1000)] = 16
    """Students trained in all."""
    parallel_trials: Annotated[int, Field(ge=1, le=100)] = 1
    """Students trained at once."""
    prune: bool = True
    """End a trial half-way whose validation is below the median of the others at that step."""

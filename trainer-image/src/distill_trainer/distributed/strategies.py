"""The strategies by the names that the spec gives them, and what works with which.

Tested with two gloo processes: gradients of one process, and a killed training that ends bit-equal.
With NCCL as many processes are tested as there are accelerators (`make test-gpu`).

| component                      | DDP | FSDP2 | ZeRO1 | ZeRO2 | ZeRO3 |
|--------------------------------|-----|-------|-------|-------|-------|
| Embedding                      | yes | yes   | yes   | yes   | yes   |
| Reranker, each architecture    | yes | yes   | yes   | yes   | yes   |
| Generator, packed or not       | yes | yes   | yes   | yes   | yes   |
| Generator, logits.onPolicy     | yes | no    | no    | no    | no    |
| QueryTransform, causal or T5   | yes | yes   | yes   | yes   | yes   |
| training.gradientCheckpointing | yes | yes   | yes   | yes   | yes   |
| training.precision BFloat16    | yes | yes   | yes   | yes   | yes   |
| training.lora                  | yes | yes   | yes   | yes   | yes   |
| training.lora, quantizedBase   | yes | no    | no    | no    | no    |

ZeRO needs DeepSpeed, which our images hold; one that somebody made without it says so.
"""

from collections.abc import Sequence
from typing import Final

from distill_api.names import Reason
from distill_api.training import Strategy as Name
from torch import Tensor, nn

from distill_trainer.distributed import hiding
from distill_trainer.distributed.strategy import Alone, Strategy
from distill_trainer.distributed.world import World
from distill_trainer.errors import BadInput

STAGES: Final = {Name.ZERO1: 1, Name.ZERO2: 2, Name.ZERO3: 3}


def of(name: Name, world: World) -> Strategy:
    """Return a strategy; one process needs none."""
    return Alone(world) if world.size == 1 else several(name, world)


def several(name: Name, world: World) -> Strategy:
    """Return the strategy of several processes. Each is imported only when it is used."""
    match name:
        case Name.DDP:
            return Alone(world)
        case Name.FSDP2:
            from distill_trainer.distributed.sharded import Sharded

            return Sharded(world)
        case Name.ZERO1 | Name.ZERO2 | Name.ZERO3:
            if not hiding.reveal():
                raise BadInput(
                    Reason.BAD_RECIPE,
                    f"training.distributed.strategy {name} needs DeepSpeed, which this image does"
                    " not hold: use an image with it, or DDP, or FSDP2, which shares weights,"
                    " gradients and optimiser state as ZeRO3 does",
                )
            from distill_trainer.distributed.zero import Zero

            return Zero(world, STAGES[name])


def gradients(strategy: Strategy, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """Return the gradients in full, under the names that checkpoints give their parameters."""
    found = {str(n): strategy.gradient(parameter) for n, parameter in enumerate(parameters)}
    return {number: gradient.clone() for number, gradient in found.items() if gradient is not None}

"""Several processes that train one model: what they tell each other, how weights are shared out.

`ddp`: every process holds all weights, and gradients are added up once a step. Otherwise weights,
gradients and optimiser are cut among the processes, and a layer is gathered when it is needed:
`zero3` (the same as `fsdp`) lets go of it at once, `zero2` after the backward pass, for more memory
and fewer messages. Both are torch's own `fully_shard`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

if TYPE_CHECKING:
    from genixer.training.lesson import Learner, Lesson

__all__ = ["Together", "local", "shard", "whole_weights"]

_CPU = torch.device("cpu")
_BUCKET = 1 << 24
"""Numbers that are added up in one message."""


class Together:
    """The processes of one training; a single one where no process group was opened."""

    def __init__(self) -> None:
        """Find out who this process is, and which device is its own."""
        many = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if many else 0
        self.world = distributed.get_world_size() if many else 1
        on_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else _CPU

    def sum(self, *numbers: float) -> list[float]:
        """Each number added up over all processes, in float64."""
        if self.world == 1:
            return list(numbers)
        found = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        distributed.all_reduce(found)
        return [float(one) for one in found]

    def gather(self, what: Any) -> list[Any]:
        """What every process has to say, by rank."""
        if self.world == 1:
            return [what]
        found: list[Any] = [None] * self.world
        distributed.all_gather_object(found, what)
        return found

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            distributed.barrier()

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over all processes, in few messages."""
        if self.world == 1:
            return
        pending: list[Tensor] = []
        for number, tensor in enumerate(tensors):
            pending.append(tensor)
            full = sum(one.numel() for one in pending) >= _BUCKET
            if full or number == len(tensors) - 1 or tensors[number + 1].dtype != tensor.dtype:
                flat = torch.cat([one.flatten() for one in pending])
                distributed.all_reduce(flat)
                pieces = flat.split([one.numel() for one in pending])
                for one, piece in zip(pending, pieces, strict=True):
                    one.copy_(piece.view_as(one))
                pending = []


def shard(
    learner: Learner, lesson: Lesson[Any], together: Together, dtype: torch.dtype, let_go: bool
) -> None:
    """Cut the weights of `learner` among the processes, a unit for every block of the lesson.

    `dtype` is what gathered weights are computed in; gradients are added up in float32. `let_go`
    frees a block's gathered weights after its forward pass, not only after its backward pass.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(together.device.type, (together.world,))
    policy = MixedPrecisionPolicy(
        param_dtype=None if dtype == torch.float32 else dtype,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for parameter in learner.parameters():
        parameter.data = parameter.data.contiguous()
    for block in lesson.blocks():
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=let_go)
    fully_shard(learner, mesh=mesh, mp_policy=policy)


def local(tensor: Tensor) -> Tensor:
    """The part of `tensor` that this process holds; all of it where it is not sharded."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_weights(network: nn.Module, keep: bool) -> dict[str, Tensor]:
    """State of a sharded `network`, whole and on the CPU; empty where not `keep`.

    Every process calls it: all of them give their parts.
    """
    from torch.distributed.tensor import DTensor

    found = {}
    for name, tensor in network.state_dict().items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            found[name] = full.detach().cpu().clone()
    return found

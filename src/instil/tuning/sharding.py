"""How several processes hold one model: each the whole of it, or each a part of every weight.

    Replicas (ddp)    weights, moments whole everywhere     gradients are summed once a step, after the last piece
    Shards (fsdp)     every matrix cut by rows, moments too   a block is put together just before it is used, and its
                                                            gradient is summed and cut again just behind it

    two processes     rows 0..3 of W (8, 4) in process 0, rows 4..7 in process 1

Gradients are sums, never means: a piece's loss is scaled by the trained tokens of the whole step, so that the sum over
all processes is the gradient that one process would have. PyTorch's DistributedDataParallel takes the mean of what each
process did once, and waits for ever where one of them ran out of memory; here a process may have any number of pieces,
or none, and the processes agree that all went well before they exchange anything.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from instil.errors import RecipeError
from instil.tuning.distributed import World, whole

M = TypeVar("M")

Parallel = Literal["auto", "ddp", "fsdp"]

#: Bytes of gradients that travel together: large enough for the wire, small beside the weights.
_BUCKET_BYTES = 64 * 2**20
#: Weights, gradients and two moments in float32.
_BYTES_PER_WEIGHT = 16
#: Share of a GPU that they may take before the weights are cut; the rest is for activations.
_ROOM = 0.6


def way_of(parallel: Parallel, model: PreTrainedModel, world: World, *, optimizer: str) -> Literal["ddp", "fsdp"]:
    """How the model is held: as the recipe says; by itself cut only where a GPU would not hold it whole.

    Raises:
        RecipeError: if the optimizer cannot work on weights that are cut.
    """
    if world.size == 1:
        return "ddp"
    way = parallel
    if way == "auto":
        way = "fsdp" if optimizer == "adamw" and _is_too_large(model, world) else "ddp"
    if way == "fsdp" and optimizer != "adamw":
        raise world.once(
            RecipeError(
                f"{optimizer} needs whole matrices, and tuning.parallel fsdp cuts them",
                remedy="Set tuning.parallel to ddp, or tuning.optimizer to adamw",
            )
        )
    return way


def _is_too_large(model: PreTrainedModel, world: World) -> bool:
    """Whether the GPU of any process would not hold the model: machines may have unlike ones."""
    if model.device.type != "cuda":
        return False
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    frozen = sum(weight.numel() for weight in model.parameters()) - trained
    room = int(torch.cuda.get_device_properties(model.device).total_memory)
    own = _BYTES_PER_WEIGHT * trained + 4 * frozen > _ROOM * room
    return any(code for (code,) in world.gathered([float(own)]))


class Replicas(Generic[M]):
    """Every process has the whole model. With one process, the plain thing."""

    sharded = False
    told = "each with the whole model (ddp)"

    def __init__(self, model: PreTrainedModel, loss_sum: Callable[[PreTrainedModel, M], Tensor], world: World) -> None:
        self.model = model.float()
        """What is trained: the optimizer's weights are its."""
        self.world = world
        self.figures = figures_of(loss_sum)
        self._loss_sum = loss_sum
        if world.size > 1:
            for weight in model.parameters():  # the first process's, should machines have read unlike ones
                world.put(weight.detach(), weight.detach())

    def loss(self, item: M) -> Tensor:
        """The summed loss of a piece."""
        return self._loss_sum(self.model, item)

    def sum_gradients(self, weights: Sequence[Tensor]) -> None:
        """Make every process's gradients their sum; one without any has zeros where another has some."""
        if self.world.size == 1:
            return
        has = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.uint8)
        dist.all_reduce(has, dist.ReduceOp.MAX)
        moved = [weight for weight, some in zip(weights, has.tolist(), strict=True) if some]
        for weight in moved:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        for bucket in _buckets(moved):
            grads = [weight.grad for weight in bucket if weight.grad is not None]
            flat = torch.cat([grad.reshape(-1) for grad in grads])
            dist.all_reduce(flat)
            for grad, part in zip(grads, flat.split_with_sizes([grad.numel() for grad in grads]), strict=True):
                grad.copy_(part.view_as(grad))

    def gradient_length(self, weights: Sequence[Tensor]) -> float:
        """The length of the whole gradient, the same number in every process."""
        length = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        return self.world.told(float(whole(length)))

    @contextlib.contextmanager
    def whole_model(self) -> Iterator[PreTrainedModel]:
        """The model to ask and to save: whole, with the present weights."""
        yield self.model

    def put_together(self) -> None:
        """Training is over: the model that was given has what was learned."""


def figures_of(loss_sum: object) -> Mapping[str, Sequence[str]]:
    """What a loss measures beside itself, by kind of piece."""
    figures: Mapping[str, Sequence[str]] = getattr(loss_sum, "figures", {})
    return figures


def _buckets(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for weight in weights:
        if bucket and (sum(one.nbytes for one in bucket) + weight.nbytes > _BUCKET_BYTES):
            yield bucket
            bucket = []
        bucket.append(weight)
    if bucket:
        yield bucket


class Shards(Replicas[M]):
    """Every process has a part of every weight (FSDP2).

    What is cut is a second tree of modules over the same weights. The model that was given stands by, empty, and is
    filled where a whole one is needed: to be asked while training, and at the end.
    """

    sharded = True
    told = "each with a part of every weight (fsdp)"

    def __init__(
        self,
        model: PreTrainedModel,
        loss_sum: Callable[[PreTrainedModel, M], Tensor],
        world: World,
        *,
        dtype: torch.dtype,
    ) -> None:
        self.world = world
        self.figures = figures_of(loss_sum)
        self._plain = model
        memo: dict[int, Any] = {
            id(weight): nn.Parameter(weight.detach(), requires_grad=weight.requires_grad)
            for weight in model.parameters()
        }
        self.model = copy.deepcopy(model, memo)
        self._empty()
        self._loss = _Loss(self.model, loss_sum)
        _shard(self._loss, self.model, world, dtype)

    def loss(self, item: M) -> Tensor:
        """The summed loss of a piece."""
        value: Tensor = self._loss(item)
        return value

    def sum_gradients(self, weights: Sequence[Tensor]) -> None:
        """Nothing: they were summed block by block, on the way."""

    @contextlib.contextmanager
    def whole_model(self) -> Iterator[PreTrainedModel]:
        """The model that was given, filled for a while, in every process."""
        self.put_together()
        try:
            yield self._plain
        finally:
            self._empty()

    def put_together(self) -> None:
        """Fill the model that was given."""
        ours = dict(self.model.named_parameters())
        for name, weight in self._plain.named_parameters():
            weight.data = whole(ours[name].detach())

    def _empty(self) -> None:
        for weight in self._plain.parameters():
            weight.data = weight.data.new_empty(0)


class _Loss(nn.Module, Generic[M]):
    """A module around model and loss, so that FSDP sees where a piece begins and ends."""

    def __init__(self, model: PreTrainedModel, loss_sum: Callable[[PreTrainedModel, M], Tensor]) -> None:
        super().__init__()
        self.model, self.loss_sum = model, loss_sum

    def forward(self, item: M) -> Tensor:
        return self.loss_sum(self.model, item)


def _shard(root: nn.Module, model: PreTrainedModel, world: World, dtype: torch.dtype) -> None:
    """Cut block by block, so that only one block at a time is whole in float32."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(model.device.type, (world.size,))
    # blocks multiply in bfloat16 anyway, so half the bytes travel; embeddings and output layer travel in float32. On a
    # CPU all does: autocast leaves norms alone there, and they take no weight in another dtype than their input's
    in_full = dtype == torch.float32 or model.device.type == "cpu"
    low = MixedPrecisionPolicy(
        param_dtype=None if in_full else dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for block in model.modules():
        if isinstance(block, GradientCheckpointingLayer):
            block.register_forward_hook(_without_views)
            fully_shard(block.float(), mesh=mesh, mp_policy=low)
    fully_shard(root.float(), mesh=mesh)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def _without_views(_: nn.Module, __: Any, output: Any) -> Any:
    """What a block gives, with views copied: FSDP2 warns that a gradient could pass it by where one is written to.

    The first block of a T5 gives a view, its bias (heads, T, S), which all later blocks then hand on.
    """
    if isinstance(output, tuple):
        return tuple(_without_views(_, __, part) for part in output)
    return output.clone() if isinstance(output, Tensor) and output._base is not None else output

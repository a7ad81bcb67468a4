"""The one loop: step, log, save, resume. It knows no recipe, only batches that are a function of the step.

    batches(step, tokens_per_batch) -> pieces of one step, each with the scale of its summed loss
    step loss = sum over pieces of scale x loss_sum(model, piece)          scale = weight / trained tokens of the step

Nothing that a step does depends on the steps before it but the weights, the optimizer and the counters: its data comes
from its number, and so does the seed of its dropout. That is why a killed run ends bitwise equal to one that was not.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Generic, TypeVar

import torch
from transformers import PreTrainedModel

from instil.errors import RunError
from instil.fingerprint import keyed_int
from instil.models.memory import is_out_of_memory
from instil.models.parity import evaluating
from instil.runs import RunFolder
from instil.tuning.best import Best, BestWeights
from instil.tuning.checkpoint import restore_newest, save_checkpoint
from instil.tuning.distributed import World
from instil.tuning.gradient import Batches as Batches
from instil.tuning.gradient import Gradients
from instil.tuning.gradient import LossSum as LossSum
from instil.tuning.gradient import Piece as Piece
from instil.tuning.loop_spec import CHANGEABLE as CHANGEABLE
from instil.tuning.loop_spec import LoopSpec as LoopSpec
from instil.tuning.loop_spec import piece_tokens as piece_tokens
from instil.tuning.loop_spec import product_dtype
from instil.tuning.optimizers import Optimizers, learning_rate
from instil.tuning.progress import ProgressPanel
from instil.tuning.sharding import Replicas, Shards, way_of
from instil.tuning.spikes import fault, remember
from instil.tuning.state import TIMING as TIMING
from instil.tuning.state import Progress
from instil.tuning.state import TrainResult as TrainResult
from instil.tuning.stopping import Interrupted, StopRequest, stopping_gently

M = TypeVar("M")

#: Why a step is not taken of whose prompts none has an answer that fits.
_NOTHING = "it has no token to train on"

Evaluate = Callable[[int, PreTrainedModel], Mapping[str, Any]]
"""(step, model) -> its figures by name; `keep_best` is one of these names."""
Prepare = Callable[[int, PreTrainedModel], None]
"""(step, model) -> what `batches` needs before it is asked for this step, such as rollouts of the model as it is now. A
pure function of the step and the weights; it may be called again for a step that was not finished."""


def train(
    spec: LoopSpec,
    model: PreTrainedModel,
    batches: Batches[M],
    loss_sum: LossSum[M],
    run: RunFolder,
    *,
    evaluate: Evaluate | None = None,
    prepare: Prepare | None = None,
    title: str = "training",
    show_progress: bool = True,
) -> TrainResult:
    """Train `model` in place for `spec.max_steps`, continuing from the newest whole checkpoint of `run`.

    Args:
        spec: how.
        model: on its device; its weights become float32.
        batches: the pieces of each step.
        loss_sum: the summed loss of a piece.
        run: where metrics and checkpoints go.
        evaluate: called every `evaluate_every` steps and after the last one; its figures go to metrics.jsonl. Where
            `keep_best` chooses by them, it is called before the first step as well, and not at an uneven last one: what
            a longer run would not see must not decide.
        prepare: called before every step, with the weights as they are then and without dropout; with several
            processes in each of them, which must ask for no more than they do together.
        title: stands before the progress bar.
        show_progress: whether to show one.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM, once the step is saved.
        RunError: if the disk is full, memory does not hold a single prompt, or step after step is a bad one.
    """
    with _processor(spec.threads):
        was_training = model.training
        trainer = _Trainer(spec, model, batches, loss_sum, run)
        run.note(
            threads=torch.get_num_threads(), device=str(model.device), products=str(trainer.dtype), **trainer.processes
        )
        if trainer.world.size > 1:
            run.say(f"{trainer.world.size} processes, {trainer.held.told}")
        trainer.resume()
        trainer.model.train()
        try:
            with stopping_gently(run.say) as stop:
                trainer.run_all(evaluate, prepare, stop, title, show_progress)
            trainer.take_best()
            trainer.held.put_together()
        finally:
            model.train(was_training)
        return trainer.result()


@contextlib.contextmanager
def _processor(threads: int | None) -> Iterator[None]:
    """While open, denormal numbers are zero (they make some products many times slower), on so many threads.

    Both are states of the whole process, and other code in it, Hypothesis for one, needs them as they were.
    """
    flushed, before = sys.float_info.min / 2 == 0, torch.get_num_threads()
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(before)


class _Trainer(Generic[M]):
    def __init__(
        self, spec: LoopSpec, model: PreTrainedModel, batches: Batches[M], loss_sum: LossSum[M], run: RunFolder
    ) -> None:
        self.spec, self.run, self.world = spec, run, World.current()
        self.dtype = product_dtype(spec, model.device)
        self.held = _hold(spec, model, loss_sum, self.world, self.dtype)
        self.model = self.held.model
        self.optimizers = Optimizers(self.model, spec)
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.progress = Progress(tokens_per_batch=piece_tokens(spec, model.device))
        # processes drop different units; the first those that it would drop alone
        seed = keyed_int(spec.seed, "process", self.world.rank, n=2**32) if self.world.rank else spec.seed
        self.gradients = Gradients(
            batches,
            self.held,
            self.weights,
            dtype=self.dtype,
            seed=lambda step: seed_step(seed, step),
            say=run.say,
        )
        self.stopped = False
        """Whether some process was asked to stop."""
        self.last_loss: float | None = None
        self.checkpoints = run.path / "checkpoints"
        self.best = BestWeights(run.path)

    @property
    def processes(self) -> dict[str, object]:
        """How many there are, and how they hold the model."""
        way = {"parallel": "fsdp" if self.held.sharded else "ddp"} if self.world.size > 1 else {}
        return {"processes": self.world.size, **way}

    def resume(self) -> None:
        if not self.run.resumed:
            return
        state = restore_newest(self.checkpoints, self.model, self.optimizers, self.run.say)
        if state is not None:
            self.progress = Progress(**{**state, "best": Best(**state.get("best", {}))})
            if self.spec.keep_best and self.progress.best.step >= 0:
                self.best.check(self.progress.best)
        step, every = self.progress.step, self.spec.evaluate_every

        def belongs(row: Mapping[str, Any]) -> bool:
            """Whether this run has the row as well: those of a last, uneven step belong to the shorter run alone."""
            if row["step"] != step or "reason" in row or self._is_over():
                return bool(row["step"] <= step)
            if step == 0:
                return False  # nothing was saved, so that the evaluation before the first step is made again
            return every > 0 and step % every == 0 if "evaluation" in row else self._is_even(step)

        self.run.keep_metrics(belongs)
        self.run.say(f"resuming at step {step} of {self.spec.max_steps}")

    def run_all(
        self, evaluate: Evaluate | None, prepare: Prepare | None, stop: StopRequest, title: str, shown: bool
    ) -> None:
        spec, progress = self.spec, self.progress
        clock, clock_tokens = time.perf_counter(), progress.tokens
        saved = progress.step
        shown = shown and self.world.is_first
        with (
            ProgressPanel(title, total=spec.max_steps, done=progress.step, shown=shown) as panel,
            self.world.watching(lambda: f" at step {progress.step + 1}"),
        ):
            if evaluate is not None and spec.keep_best and progress.best.step < 0 and not progress.step:
                self._evaluate(evaluate, panel)
            while not self._is_over():
                began = time.perf_counter()
                if prepare is not None:
                    self._prepare(prepare)
                norm = self.take_step(stop)
                progress.seconds += time.perf_counter() - began
                step, last = progress.step, progress.step == spec.max_steps
                rate = (progress.tokens - clock_tokens) / (time.perf_counter() - clock)
                pace = learning_rate(spec, step - 1, spec.max_steps)
                if evaluate is not None and self._is_evaluated(step):
                    paused = time.perf_counter()
                    self._evaluate(evaluate, panel)
                    clock += time.perf_counter() - paused
                last = last or self._is_patient_no_more()
                if self._is_even(step) or last:
                    self._write_row(norm, rate)
                    clock, clock_tokens = time.perf_counter(), progress.tokens
                    if self._is_even(step):
                        progress.sums.clear()
                panel.update(step, loss=self.last_loss, tokens_per_second=rate, learning_rate=pace)
                if self.stopped or (spec.save_every and (step % spec.save_every == 0 or last)):
                    self._save()
                    saved = step
                if self.stopped and not last:
                    raise Interrupted(f"saved at step {saved} of {spec.max_steps}: go on with --resume")

    def take_step(self, stop: StopRequest) -> float:
        """One optimizer step; returns the length of the gradient."""
        progress, spec = self.progress, self.spec
        made = self.gradients.make(progress, stop=stop)
        pieces, sums = made.pieces, made.sums
        norm = self.held.gradient_length(self.weights)
        loss = sum(piece.scale * values[0] for piece, values in zip(pieces, sums, strict=True))
        reason = fault(spec, progress.good, loss=loss, gradient=norm) if pieces else _NOTHING
        if reason:
            self._skip(reason)
        else:
            if spec.clip_norm and norm > spec.clip_norm:
                torch._foreach_mul_([w.grad for w in self.weights if w.grad is not None], spec.clip_norm / norm)
            self._move(learning_rate(spec, progress.step, spec.max_steps))
            progress.skipped_in_a_row = 0
            remember(spec, progress.good, loss=loss, gradient=norm)
            for piece, values in zip(pieces, sums, strict=True):
                progress.add(piece.kind, piece.targets, values, self.held.figures.get(piece.kind, ()))
        for weight in self.weights:
            weight.grad = None
        progress.step += 1
        progress.tokens += sum(piece.tokens for piece in pieces)
        progress.answer_tokens += sum(piece.targets for piece in pieces if piece.kind == "loss")
        self.stopped = made.stop if self.world.size > 1 else bool(stop)
        return norm

    def _move(self, rate: float) -> None:
        try:
            self.optimizers.step(rate)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"memory ran out in the optimizer at step {self.progress.step + 1}",
                remedy="AdamW needs twice the size of the weights beside them: set optimizer to adafactor or lora to "
                "{}, or take a smaller model or more memory",
            ) from error

    def _skip(self, reason: str) -> None:
        """Count a step that is not taken, and say why; the learning rate goes on by the step's number."""
        progress, spec = self.progress, self.spec
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        step = progress.step + 1
        self.run.say(f"step {step} was not taken: {reason}")
        self.run.add_metrics({"step": step, "skipped": progress.skipped, "reason": reason})
        if progress.skipped_in_a_row >= spec.skips_allowed:
            or_else = ", or with spike_deviations 0 if the data is meant to change so" if "spike" in reason else ""
            advice = f"Begin anew with a lower learning_rate (now {spec.learning_rate:g}) or more warmup{or_else}"
            if reason == _NOTHING:
                advice = spec.nothing_to_learn
            found = f"{progress.skipped_in_a_row} steps in a row were not taken, up to step {step}: {reason}"
            raise self.world.once(RunError(found, remedy=advice))

    def _is_even(self, step: int) -> bool:
        return step == 1 or step % self.spec.log_every == 0

    def _write_row(self, norm: float, tokens_per_second: float) -> None:
        progress, spec = self.progress, self.spec
        self.last_loss = progress.losses.get("loss")
        rate = learning_rate(spec, progress.step - 1, spec.max_steps)
        self.run.add_metrics(progress.row(learning_rate=rate, grad_norm=norm, tokens_per_second=tokens_per_second))

    def _evaluate(self, evaluate: Evaluate, panel: ProgressPanel) -> None:
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        step = self.progress.step
        fork = torch.random.fork_rng(devices=devices)
        with self.held.whole_model() as model, fork, evaluating(model), torch.no_grad():
            figures = self.world.first(lambda: dict(evaluate(step, model)))
        self.run.add_metrics(self.progress.asked(figures))
        best, metric = self.progress.best, self.spec.keep_best
        if metric is None:
            panel.evaluated(step, figures)
            return
        if self.world.together(lambda: best.consider(metric, figures, step=step)):
            self.best.save(self.model, best, metric)
            self.best.prune(best)
        elif self._is_patient_no_more():
            self.run.say(
                f"ended at step {self.progress.step}: {best.stale} evaluations in a row were no better than "
                f"{best.told(metric)}"
            )
        panel.evaluated(step, figures, best=best.told(metric))

    def _prepare(self, prepare: Prepare) -> None:
        if self.held.sharded:
            with self.held.whole_model() as model, evaluating(model):
                prepare(self.progress.step, model)
            return
        with evaluating(self.model):
            prepare(self.progress.step, self.model)

    def _is_evaluated(self, step: int) -> bool:
        every = self.spec.evaluate_every
        return every > 0 and (step % every == 0 or (step == self.spec.max_steps and not self.spec.keep_best))

    def _is_over(self) -> bool:
        return self.progress.step >= self.spec.max_steps or self._is_patient_no_more()

    def _is_patient_no_more(self) -> bool:
        return 0 < self.spec.patience <= self.progress.best.stale

    def _save(self) -> None:
        state = asdict(self.progress)
        save_checkpoint(self.checkpoints, self.model, self.optimizers, state, keep_last=self.spec.keep_last)
        self.best.prune(self.progress.best)

    def take_best(self) -> None:
        """Give the model the weights that were best, where the spec asks for them; the last ones stay saved as well."""
        best = self.progress.best
        if self.spec.keep_best and best.step >= 0:
            self.best.put(self.model, best)
            self.run.say(f"the model has the best weights: {best.told(self.spec.keep_best)}")

    def result(self) -> TrainResult:
        progress = self.progress
        if self.last_loss is None:
            losses = [row["loss"] for row in self.run.metrics() if row.get("loss") is not None]
            self.last_loss = losses[-1] if losses else None
        return TrainResult(
            steps=progress.step,
            loss=self.last_loss,
            tokens=progress.tokens,
            answer_tokens=progress.answer_tokens,
            seconds=progress.seconds,
            skipped=progress.skipped,
            tokens_per_batch=progress.tokens_per_batch,
            best_step=progress.best.step if self.spec.keep_best and progress.best.step >= 0 else None,
            best=progress.best.value if self.spec.keep_best else None,
            ended_early=self._is_patient_no_more() and progress.step < self.spec.max_steps,
        )


def _hold(
    spec: LoopSpec, model: PreTrainedModel, loss_sum: LossSum[M], world: World, dtype: torch.dtype
) -> Replicas[M]:
    """The model as the processes hold it."""
    if way_of(spec.parallel, model, world, optimizer=spec.optimizer) == "fsdp":
        return Shards(model, loss_sum, world, dtype=dtype)
    return Replicas(model, loss_sum, world)


def seed_step(seed: int, step: int) -> None:
    """Dropout of a step depends on its number alone: not on the steps, evaluations or processes before it."""
    torch.manual_seed(keyed_int(seed, "step", step, n=2**63))

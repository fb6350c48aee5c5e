"""The training loop: cached images, AdamW on a cosine, averaged weights, checkpoints, a curve.

Every random number of a step comes from (seed, step): with the same number of threads two runs are
identical, and a resumed run is identical to one that was never stopped.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lerobot.optim.schedulers import CosineAnnealingWithWarmupSchedulerConfig
from lerobot.policies import make_policy
from lerobot.processor import PolicyProcessorPipeline
from lerobot_policy_so101 import So101FlowConfig
from lerobot_policy_so101.modeling_so101_flow import So101FlowPolicy
from lerobot_policy_so101.processor_so101_flow import make_so101_flow_pre_post_processors
from numpy.typing import NDArray

from robot.errors import ConfigError
from train.cache import CacheProgress, cached_images
from train.checkpoints import (
    CheckpointWriter,
    Learner,
    last_checkpoint,
    load_learner,
    saved_recipe,
    torch_device,
)
from train.dataset import ACTION, STATE, Dataset, IndexArray, open_dataset
from train.inputs import refuse_used_output
from train.log import ProgressMeter, TrainLog, TrainProgress
from train.presets import STANDARD, Recipe
from train.samples import BatchOrder, Samples, split_rows
from train.storage import StorageGuard

CACHE_ROOT = Path("outputs/cache/images")
CHECKPOINT_BYTES = 40_000_000  # measured: 24 MB with optimiser state
WARMUP_SHARE = 0.2  # at most this share of a short run warms up
VALIDATION_ROWS = 512


@dataclass(frozen=True)
class TrainListeners:
    """Who is told how it goes, and who may stop it (then a checkpoint is written first)."""

    on_cache: CacheProgress | None = None
    on_step: Callable[[TrainProgress], None] | None = None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind."""

    checkpoint: Path  # pretrained_model folder of the last checkpoint
    step: int
    loss: float
    duration_s: float
    is_finished: bool  # False: stopped before the last step


def train(
    dataset_root: Path,
    output_dir: Path,
    recipe: Recipe = STANDARD,
    *,
    resume: bool = False,
    listeners: TrainListeners | None = None,
) -> TrainResult:
    """Train a policy and write its checkpoints under `output_dir`.

    Raises:
        ConfigError: no or damaged dataset, too few frames, output in use, nothing to resume.
        StorageFull: no room; finished checkpoints are kept.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    listeners = listeners or TrainListeners()
    dataset = open_dataset(dataset_root)
    checkpoint = None
    if resume:
        checkpoint = last_checkpoint(output_dir)
        recipe = _resumed_recipe(checkpoint, recipe, dataset)
    else:
        refuse_used_output(output_dir)
    _refuse_too_small(dataset, recipe)
    device = torch_device(recipe.device)
    StorageGuard(output_dir, f"the run {output_dir}").need(
        CHECKPOINT_BYTES * (1 + recipe.steps // recipe.checkpoint_every)
    )
    config = _policy_config(dataset, recipe)
    images = cached_images(dataset, CACHE_ROOT, config.image_size_px, listeners.on_cache)
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        run = _Run(dataset, images, config, recipe, device)
        return run.train(output_dir, checkpoint, listeners)
    finally:
        torch.set_num_threads(threads)


def _resumed_recipe(checkpoint: Path, recipe: Recipe, dataset: Dataset) -> Recipe:
    """Return the saved recipe; only where it runs may differ."""
    saved, dataset_sha256 = saved_recipe(checkpoint)
    if dataset_sha256 != dataset.sha256:
        raise ConfigError(
            f"cannot resume: {dataset.root} is not the dataset of {checkpoint} "
            "(its content differs); start a new run"
        )
    return replace(saved, device=recipe.device, threads=recipe.threads)


def _refuse_too_small(dataset: Dataset, recipe: Recipe) -> None:
    if (
        recipe.steps < 1
        or recipe.batch_size < 1
        or recipe.checkpoint_every < 1
        or recipe.log_every < 1
    ):
        raise ConfigError(
            "steps, batch size, checkpoint interval and log interval must be at least 1"
        )
    if not 0 <= recipe.validation_episodes < len(dataset.episodes):
        raise ConfigError(
            f"cannot hold out {recipe.validation_episodes} of {len(dataset.episodes)} episodes; "
            "leave one to train on"
        )
    chunk = round(recipe.chunk_s * dataset.fps)
    if len(dataset.state) < max(2 * chunk, 2):
        raise ConfigError(
            f"the dataset {dataset.root} has {len(dataset.state)} frames, "
            f"fewer than two chunks of {chunk}; record more episodes"
        )


def _policy_config(dataset: Dataset, recipe: Recipe) -> So101FlowConfig:
    chunk = max(1, round(recipe.chunk_s * dataset.fps))
    return So101FlowConfig(
        chunk_size=chunk, n_action_steps=max(1, chunk // 2), head=recipe.head, device=recipe.device
    )


class _Run:
    """One training; built fresh, then optionally filled from a checkpoint."""

    def __init__(
        self,
        dataset: Dataset,
        images: dict[str, NDArray[np.uint8]],
        config: So101FlowConfig,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        self._recipe = recipe
        self._device = device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            policy = make_policy(config, ds_meta=dataset.meta)
        assert isinstance(policy, So101FlowPolicy)
        optimizer = torch.optim.AdamW(
            policy.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        warmup = min(config.warmup_steps, int(recipe.steps * WARMUP_SHARE))
        schedule = CosineAnnealingWithWarmupSchedulerConfig(num_warmup_steps=warmup)
        self._learner = Learner(policy, optimizer, schedule.build(optimizer, recipe.steps))
        self._processors = make_so101_flow_pre_post_processors(config, dataset.meta.stats)
        self._samples = Samples(
            dataset, images, _standardised(self._processors[0], dataset), config.chunk_size
        )
        training, self._validation = split_rows(
            dataset.episodes, recipe.validation_episodes, recipe.seed
        )
        self._order = BatchOrder(training, recipe.batch_size, recipe.seed)
        self._dataset = dataset

    def train(
        self, output_dir: Path, checkpoint: Path | None, listeners: TrainListeners
    ) -> TrainResult:
        """Run to the end, or until asked to stop."""
        recipe = self._recipe
        start = load_learner(checkpoint, self._learner) if checkpoint is not None else 0
        writer = CheckpointWriter(output_dir, self._dataset, recipe, self._processors)
        meter = ProgressMeter(start, recipe.steps)
        written = checkpoint / "pretrained_model" if checkpoint is not None else None
        step, stopped = start, False
        with TrainLog(output_dir, keep_steps=start) as log:
            while step < recipe.steps and not stopped:
                meter.add(*self._step(step))
                step += 1
                stopped = listeners.should_stop()
                due = step % recipe.checkpoint_every == 0 or step == recipe.steps or stopped
                if due or step % recipe.log_every == 0:
                    progress = meter.read(
                        step,
                        float(self._learner.scheduler.get_last_lr()[0]),
                        self._validate() if due and len(self._validation) else None,
                    )
                    log.write(progress)
                    if listeners.on_step is not None:
                        listeners.on_step(progress)
                if due:
                    written = writer.write(step, self._learner)
        assert written is not None
        return TrainResult(written, step, meter.last_loss, meter.elapsed_s, step == recipe.steps)

    def _step(self, step: int) -> tuple[float, float]:
        """Take one optimiser step; returns loss and gradient norm."""
        policy, optimizer, scheduler = (
            self._learner.policy,
            self._learner.optimizer,
            self._learner.scheduler,
        )
        policy.train()
        policy.seed(_step_seed(self._recipe.seed, step))
        loss, _ = policy.forward(self._samples.batch(self._order.rows(step), self._device))
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), policy.config.grad_clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        policy.update()
        value = loss.item()
        if not np.isfinite(value):
            raise ConfigError(
                f"the loss is no longer a number at step {step}; "
                "the dataset probably holds extreme joint values"
            )
        return value, norm.item()

    @torch.no_grad()
    def _validate(self) -> float:
        """Return the averaged weights' loss on held-out rows, unaugmented, from fixed noise."""
        policy = self._learner.policy
        stride = max(1, len(self._validation) // VALIDATION_ROWS)
        rows: IndexArray = self._validation[::stride]
        policy.eval()
        policy.seed(self._recipe.seed)
        total = 0.0
        with policy.average.applied():
            for part in np.array_split(rows, max(1, len(rows) // self._recipe.batch_size)):
                loss, _ = policy.forward(self._samples.batch(part, self._device))
                total += loss.item() * len(part)
        return total / len(rows)


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _standardised(
    preprocessor: PolicyProcessorPipeline, dataset: Dataset
) -> dict[str, NDArray[np.float32]]:
    """Scale all rows with the very pipeline that will scale them at run time."""
    rows = {STATE: torch.tensor(dataset.state), ACTION: torch.tensor(dataset.action)}
    scaled = preprocessor(rows)
    return {key: scaled[key].cpu().numpy() for key in rows}

"""The training loop: one process or several (torch DDP), CPU or GPU, with checkpoints a later run goes on from."""

from __future__ import annotations

import json
import math
import os
import socket
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from countermark.datasets.records import Record
from countermark.detectors.train.config import Config
from countermark.detectors.train.model import Network
from countermark.detectors.train.samples import Samples
from countermark.provenance.errors import UsageError

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


@dataclass(frozen=True, slots=True)
class Job:
    """What every process of a run is given."""

    records: tuple[Record, ...]
    config: Config
    out: Path
    workers: int
    every: int


def run(job: Job, processes: int) -> Network:
    """Train, or go on with the checkpoint in `job.out`; returns the averaged network on the CPU.

    Raises:
        UsageError: the checkpoint there belongs to another config.
    """
    saved = _checkpoint(job)
    if processes > 1:
        torch.multiprocessing.spawn(_process, args=(processes, _free_port(), job), nprocs=processes)
    elif saved is None or saved["batch"] < job.config.samples // job.config.batch:
        _train(job, 0, 1)
    network: Network = Network(job.config)
    state = torch.load(job.out / CHECKPOINT, map_location="cpu", weights_only=True)
    network.load_state_dict(state["average"])
    network.eval()
    return network


def _process(rank: int, world: int, port: int, job: Job) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, rank=rank, world_size=world)
    try:
        _train(job, rank, world)
    finally:
        dist.destroy_process_group()


def _train(job: Job, rank: int, world: int) -> None:
    config = job.config
    device = (
        torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )
    torch.set_flush_denormal(True)
    network: Any = Network(config).to(device, memory_format=torch.channels_last)
    average = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(_parameter_groups(network, config), weight_decay=config.weight_decay)
    start = _resume(job, network, average, optimizer, device)
    model: nn.Module = DistributedDataParallel(network, find_unused_parameters=True) if world > 1 else network
    samples = Samples(job.records, config, rank, world)
    began, seen = time.monotonic(), 0
    for batch, (pixels, targets) in _batches(samples, start, job.workers):
        share = batch / len(samples)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(share, config.warmup)
        torch.manual_seed(config.seed * 1_000_003 + batch * world + rank)  # dropout too is a function of the batch
        network.train()
        network.frozen = share < config.frozen
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            score = model(pixels.to(device, memory_format=torch.channels_last))
        soft = targets.to(device) * (1 - config.smoothing) + 0.5 * config.smoothing
        loss = binary_cross_entropy_with_logits(score.float(), soft)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        _blend(average, network, min(config.average, (1 + batch) / (10 + batch)))
        seen += config.batch
        if rank == 0:
            _report(job, batch + 1, len(samples), float(loss.detach()), seen / (time.monotonic() - began))
            if (batch + 1) % job.every == 0 or batch + 1 == len(samples):
                _save(job, batch + 1, network, average, optimizer)


def _parameter_groups(network: Network, config: Config) -> list[dict[str, Any]]:
    return [
        {"params": list(network.backbone.parameters()), "peak": config.lr, "lr": config.lr},
        {"params": list(network.score.parameters()), "peak": config.head_lr, "lr": config.head_lr},
    ]


def _schedule(share: float, warmup: float) -> float:
    """Linear warm-up, then half a cosine down to one hundredth."""
    if share < warmup:
        return (share + 1e-3) / (warmup + 1e-3)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))


def _blend(average: nn.Module, network: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)


def _batches(samples: Samples, start: int, workers: int) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    numbers = list(range(start, len(samples)))
    loader: DataLoader[Any] = DataLoader(samples, batch_size=None, sampler=numbers, num_workers=workers)
    yield from zip(numbers, loader, strict=True)


def _checkpoint(job: Job) -> dict[str, Any] | None:
    file = job.out / CHECKPOINT
    if not file.is_file():
        return None
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    if state["digest"] != job.config.cnn_digest:
        raise UsageError(f"{file} was written with another config; train into a new folder, or remove it.")
    return state


def _resume(
    job: Job, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> int:
    state = _checkpoint(job)
    if state is None:
        return 0
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    network.to(device)
    return int(state["batch"])


def _save(job: Job, batch: int, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    part = job.out / f"{CHECKPOINT}.part"
    state = {
        "digest": job.config.cnn_digest,
        "batch": batch,
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, part)
    part.replace(job.out / CHECKPOINT)


def _report(job: Job, batch: int, batches: int, loss: float, rate: float) -> None:
    row = {"batch": batch, "of": batches, "loss": round(loss, 4), "per_second": round(rate, 1)}
    with (job.out / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")
    left = (batches - batch) * job.config.batch / rate / 60
    sys.stderr.write(f"\rtraining {batch}/{batches}  loss {loss:.3f}  {rate:.0f} images/s  {left:.0f} min left ")
    sys.stderr.flush()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""Scan many files on one machine: in this process, or in worker processes that may die without loss."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from countermark.provenance.upload import DEFAULT_LIMITS, Limits
from countermark.scanning import Classifying, Policies, ScanResult, scan, unreadable

__all__ = ["scan_many"]

_CHUNK = 8
_IN_FLIGHT = 4  # chunks a worker; bounds memory however long the list is


def scan_many(
    paths: Iterable[Path],
    jobs: int = 1,
    limits: Limits = DEFAULT_LIMITS,
    policies: Policies | None = None,
    classifying: Classifying | None = None,
) -> Iterator[ScanResult]:
    """Results in the order of the paths, one for each, whatever happens to a worker.

    Args:
        paths: files to scan; read lazily.
        jobs: number of processes; 1 scans in this one.
        limits: bounds checked before decoding.
        policies: packs to apply to each.
        classifying: how the classifier is used.
    """
    how = _How(limits, policies, classifying)
    if jobs <= 1:
        for path in paths:
            yield how.scan(path)
        return
    yield from _Pool(jobs, how).run(paths)


@dataclass(frozen=True, slots=True)
class _How:
    """Everything a worker must know besides the paths."""

    limits: Limits
    policies: Policies | None
    classifying: Classifying | None

    def scan(self, path: Path) -> ScanResult:
        return scan(path, limits=self.limits, policies=self.policies, classifying=self.classifying)


def _init_worker() -> None:
    """One thread a worker: the processes are the parallelism."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    if not os.environ.get("COUNTERMARK_DEBUG"):
        warnings.simplefilter("ignore")  # as in the command line itself


def _scan_chunk(paths: Sequence[Path], how: _How) -> list[ScanResult]:
    return [how.scan(path) for path in paths]


class _Pool:
    """A process pool that replaces dead workers and finds the file that killed them."""

    def __init__(self, jobs: int, how: _How) -> None:
        self.jobs, self.how = jobs, how
        self.executor = self._new()

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.jobs, mp_context=context, initializer=_init_worker)

    def run(self, paths: Iterable[Path]) -> Iterator[ScanResult]:
        waiting: deque[tuple[tuple[Path, ...], Future[list[ScanResult]] | None]] = deque()
        source = iter(paths)
        try:
            while chunk := tuple(islice(source, _CHUNK)):
                waiting.append((chunk, self._submit(chunk)))
                if len(waiting) >= self.jobs * _IN_FLIGHT:
                    yield from self._finish(*waiting.popleft())
            while waiting:
                yield from self._finish(*waiting.popleft())
        finally:
            self.executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, chunk: Sequence[Path]) -> Future[list[ScanResult]] | None:
        try:
            return self.executor.submit(_scan_chunk, chunk, self.how)
        except BrokenProcessPool:
            return None

    def _finish(self, chunk: Sequence[Path], future: Future[list[ScanResult]] | None) -> list[ScanResult]:
        try:
            if future is not None:
                return future.result()
        except BrokenProcessPool:
            pass
        return [self._alone(path) for path in chunk]

    def _alone(self, path: Path) -> ScanResult:
        """Scan one file in a pool of its own: a file that kills its worker takes nothing with it."""
        if getattr(self.executor, "_broken", False):
            self.executor.shutdown(wait=False, cancel_futures=True)
            self.executor = self._new()
        try:
            return self.executor.submit(_scan_chunk, (path,), self.how).result()[0]
        except BrokenProcessPool:
            return unreadable(str(path), "The worker process died while scanning this file; the file is unreadable.")

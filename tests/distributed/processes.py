"""Processes that are started once and then run one check after another, all of them the same."""

import importlib
import multiprocessing
import os
import subprocess
import sys
import time
import traceback
from datetime import timedelta
from multiprocessing.connection import wait

import pytest
import torch
import torch.distributed as dist

from .. import environments

PATIENCE = 60  # seconds until a collective, or a check, counts as hung, unless said otherwise


class Processes:
    """``world`` processes of one gloo group. A check that fails or hangs costs them their life."""

    def __init__(self, world, folder, patience=PATIENCE):
        self.world, self.folder, self.patience = world, folder, patience
        self.workers, self.starts = [], 0

    def run(self, module, name):
        """Run a function of a module in each process; AssertionError with what went wrong."""
        if not self.workers:
            self._start()
        for _, pipe in self.workers:
            pipe.send((module, name))
        told = self._wait()
        if any(text is not None for text in told):
            self.stop()
            pytest.fail("\n".join(f"rank {r}: {text}" for r, text in enumerate(told) if text))

    def stop(self):
        for process, _ in self.workers:
            process.kill()
            process.join()
        self.workers = []

    def _start(self):
        context = multiprocessing.get_context("forkserver")
        pml = [] if environments.current() else ["pytorch_metric_learning.losses"]
        context.set_forkserver_preload(["torch", *pml, "pml_gpw"])
        self.starts += 1
        store = self.folder / f"store-{self.world}-{self.starts}"
        for rank in range(self.world):
            here, there = context.Pipe()
            args = there, store.as_uri(), rank, self.world, self.patience
            process = context.Process(target=_work, args=args, daemon=True)
            process.start()
            there.close()
            self.workers.append((process, here))

    def _wait(self):
        """What each process has to say: None where all is well."""
        told = ["no answer"] * self.world
        ranks = {pipe: rank for rank, (_, pipe) in enumerate(self.workers)}
        deadline = time.monotonic() + self.patience + 10
        while ranks and (ready := wait(list(ranks), max(0.0, deadline - time.monotonic()))):
            for pipe in ready:
                rank = ranks.pop(pipe)
                try:
                    told[rank] = pipe.recv()
                except EOFError:
                    told[rank] = "died"
                if told[rank] is not None:  # the others may be waiting for this one in vain
                    deadline = min(deadline, time.monotonic() + 3)
        return told


def checks_of(*modules):
    """The names of the modules and of the checks in them, as parameters of a test."""
    return [
        pytest.param(module.__name__, name, id=f"{module.__name__.rpartition('.')[2]}-{name[6:]}")
        for module in modules
        for name in vars(module)
        if name.startswith("check_")
    ]


def by_torchrun(folder, *program):
    """What a program says in two processes that torchrun starts, with the packages of a folder."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    torchrun += program
    own = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    place = {"cwd": folder, "env": {**os.environ, **own, "GLOO_SOCKET_IFNAME": "lo"}}
    done = subprocess.run(torchrun, **place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _work(pipe, store, rank, world, patience):
    environments.enter(environments.current())
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    patience = timedelta(seconds=patience)
    dist.init_process_group("gloo", store, rank=rank, world_size=world, timeout=patience)
    while True:
        module, name = pipe.recv()
        try:
            getattr(importlib.import_module(module), name)()
            dist.barrier()
            pipe.send(None)
        except BaseException:
            pipe.send(traceback.format_exc())

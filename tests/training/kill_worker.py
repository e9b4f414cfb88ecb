"""Trains with every balancer in child processes that are killed for good (SIGKILL), and goes on from what they left.

Torch is imported once; every training is a fork of this process. Prints one JSON line per balancer.
"""

import contextlib
import importlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from unittest import mock

import torch
from training_cases import CASES, balancer, flat, train

from polytask.training import save_tree

EPOCHS = 3


def child(case, folder: Path, out: Path | None, kill_at: int | None = None, place: str = "") -> None:
    """One training; at call number `kill_at` of `place` the process dies without a word."""
    torch.set_num_threads(1)
    calls = 0

    def dying(original):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    places = {
        "step": (torch.optim.AdamW, "step"),
        "replace": (os, "replace"),
        "fsync": (os, "fsync"),
        "": (time, "localtime"),
    }
    owner, name = places[place]
    with mock.patch.object(owner, name, dying(getattr(owner, name))):
        net, fitted = train(balancer(case), folder, budget={"epochs": EPOCHS}, checkpoint_every=1)
    if out is not None:
        save_tree(
            {"weights": flat(net), "epochs": [{**e, "seconds": 0, "evaluation_seconds": 0} for e in fitted.epochs]}, out
        )


def forked(*args, **kwargs) -> tuple[int, float]:
    """Run `child` in a process of its own; its wait status."""
    begun = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        try:
            child(*args, **kwargs)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return status, time.perf_counter() - begun


def killed_from_outside(case, folder: Path, after: float) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            child(case, folder, None)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def import_what_training_imports(root: Path) -> None:
    """Libraries import lazily: one child says what it needed, so that the next ones find it here. (Training itself must
    not run here: autograd cannot be forked.)"""
    pid = os.fork()
    if pid == 0:
        train(None, root / "first")
        (root / "modules").write_text("\n".join(sys.modules))
        os._exit(0)
    os.waitpid(pid, 0)
    for name in (root / "modules").read_text().splitlines():
        if name not in sys.modules and name.partition(".")[0] != "__main__":
            with contextlib.suppress(Exception):
                importlib.import_module(name)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    os.fsync = lambda file: None  # a killed process loses nothing that it has written: only a power cut does
    import_what_training_imports(root)
    chance = random.Random(7)
    for number, case in enumerate(CASES):
        folder = root / str(number)
        whole, seconds = forked(case, folder / "whole", folder / "whole.safetensors")
        kills = []
        for place, most in (("step", 8), ("replace", 9), ("fsync", 9)):
            at = chance.randint(1, most)
            status, _ = forked(case, folder / "cut", None, at, place)
            kills.append({"place": place, "at": at, "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0})
        status = killed_from_outside(case, folder / "cut", chance.uniform(0.1, 0.9) * seconds)
        kills.append({"place": "outside", "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0})
        last, _ = forked(case, folder / "cut", folder / "cut.safetensors")
        print(json.dumps({"case": case.name, "whole": whole, "kills": kills, "last": last}), flush=True)

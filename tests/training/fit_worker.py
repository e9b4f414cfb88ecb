"""One of two processes that train together; writes the final weights and what the epochs told."""

import sys
from pathlib import Path

import torch
from objective_cases import WORLDS
from training_cases import flat, train

from polytask.training import save_tree

if __name__ == "__main__":
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    found = {}
    for name, (make, net_of, options) in WORLDS.items():
        net, fitted = train(make(), folder / "runs" / name, net_of(), checkpoint_every=2, **options)
        found[name] = {"weights": flat(net), "epochs": fitted.epochs, "steps": fitted.steps, "best": fitted.best_epoch}
        again, told = train(make(), folder / "runs" / name, net_of(seed=rank + 5), checkpoint_every=2, **options)
        found[name]["again"] = flat(again)
    save_tree(found, folder / f"rank{rank}.safetensors")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()

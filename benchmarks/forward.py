"""One forward pass of hard sharing against those of the single-task networks, on several backbones.

    python benchmarks/forward.py [--batch 4] [--rounds 5] [--markdown]

Three tasks that are maps (7 classes, depth, normals), the same backbone and decoders for all; predictions without a
graph, one thread; medians over rounds of alternating order.

time            as a share of that of the three single-task networks, one after the other
multiply-adds   the same
"""

import argparse
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from polytask import sharing, tasks
from polytask.evaluation import forward_cost, latencies

TASKS = (tasks.Segmentation("segmentation", classes=7), tasks.Depth("depth"), tasks.Normals("normals"))
RESNET = {"depths": (2, 2, 2, 2), "hidden_sizes": (64, 128, 256, 512), "layer_type": "basic", "embedding_size": 64}
BACKBONES = (
    ("SmallCNN of rooms", sharing.SmallCNN(3, widths=(32, 64, 128, 128)), 64),
    ("DilatedResNet(18)", sharing.DilatedResNet(layers=18), 64),
    ("SegNet", sharing.SegNet(), 64),
    ("ResNet-18", sharing.Transformers("resnet", **RESNET), 128),
    ("Swin-T", sharing.Transformers("swin", image_size=128), 128),
)


def one_by_one(models: Sequence[nn.Module], images: Tensor) -> None:
    for model in models:
        model(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", action="store_true", help="as a table for docs/perception.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    between = " | " if asked.markdown else "  "
    print(between.join([f"{'backbone':<20}", "pixels", "  time", "multiply-adds"]))
    if asked.markdown:
        print("--- | ---: | ---: | ---:")
    for name, trunk, size in BACKBONES:
        images = torch.rand(asked.batch, 3, size, size)
        together = sharing.HardSharing(trunk, TASKS).eval()
        alone = [sharing.HardSharing(trunk, [task]).eval() for task in TASKS]
        took = latencies({"one": partial(together, images), "": partial(one_by_one, alone, images)}, asked.rounds)
        work = sum(forward_cost(model, images).multiply_adds for model in alone)
        shares = took["one"] / took[""], forward_cost(together, images).multiply_adds / work
        print(between.join([f"{name:<20}", f"{size:>6}", f"{shares[0]:>6.2f}", f"{shares[1]:>13.2f}"]), flush=True)


if __name__ == "__main__":
    main()

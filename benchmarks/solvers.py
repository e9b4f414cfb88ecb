"""What the weights cost once the Gramian is there: time and distance from the optimum, ours and TorchJD's in turns.

    python benchmarks/solvers.py [--tasks 2 5 10 20 40 100] [--kinds typical conflict] [--rounds 9]

One thread, CPU. Every round runs every method of a size once, ours and theirs one after the other, in alternating
order; times are medians over rounds, "faster" is the median of the rounds' ratios. The gap is 0 at the solution; the
largest of the rounds is shown:

MGDA               (|d|^2 - min_i g_i . d) / |d|^2
CAGrad             (dual value - worst gain) / (|g0| max |g_i|)
NashMTL, FairGrad  max_i |w_i^(1/alpha) (G w)_i - 1|
UPGrad, DualProj   the largest conflict, max_i -cos(g_i, d)
IMTLG, ConFIG      spread of the projections on the unit gradients, relative to their mean
AlignedMTL         distance of d / |d| to that from a singular value decomposition of the gradients
PCGrad, GradVac    - (random; they are algorithms, not problems)

TorchJD's CAGrad, NashMTL, UPGrad and DualProj need solvers of their own (`pip install "torchjd[full]"`); what cannot be
made is left out of the table, with the reason below it.
"""

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from polytask.balancing import MGDA, GramianBalancer, PCGrad
from polytask.balancing.gramian.aligned import AlignedMTL
from polytask.balancing.gramian.cagrad import CAGrad
from polytask.balancing.gramian.config import ConFIG
from polytask.balancing.gramian.fairgrad import FairGrad
from polytask.balancing.gramian.gradvac import GradVac
from polytask.balancing.gramian.imtl_g import IMTLG
from polytask.balancing.gramian.nash import NashMTL
from polytask.balancing.gramian.upgrad import DualProj, UPGrad


def typical(size: int, generator: torch.Generator) -> Tensor:
    """Random gradients with a little in common."""
    return torch.randn(size, 4 * size, generator=generator, dtype=torch.float64) + 0.1


def conflict(size: int, generator: torch.Generator) -> Tensor:
    """The mean gradient is a thousandth of what it was: the hull of the gradients almost holds 0."""
    rows = torch.randn(size, 2 * size, generator=generator, dtype=torch.float64)
    return rows - 0.999 * rows.mean(0)


def camps(size: int, generator: torch.Generator) -> Tensor:
    """Two camps that want opposite things."""
    rows = 0.3 * torch.randn(size, 2 * size, generator=generator, dtype=torch.float64)
    common = torch.randn(1, 2 * size, generator=generator, dtype=torch.float64)
    return rows + common * (-1.0) ** torch.arange(size)[:, None]


def low_rank(size: int, generator: torch.Generator) -> Tensor:
    """More tasks than dimensions."""
    return torch.randn(size, max(1, size // 2), generator=generator, dtype=torch.float64)


def lengths(size: int, generator: torch.Generator) -> Tensor:
    """Two camps, with lengths a million apart."""
    return camps(size, generator) * 10 ** torch.linspace(-3, 3, size, dtype=torch.float64)[:, None]


KINDS = {each.__name__: each for each in (typical, conflict, camps, low_rank, lengths)}


def mgda_gap(rows: Tensor, w: Tensor) -> float:
    slopes = rows @ (w @ rows)
    return float((w @ slopes - slopes.min()) / (w @ slopes))


def cagrad_gap(rows: Tensor, w: Tensor, c: float = 0.5) -> float:
    mean = rows.mean(0)
    d = w @ rows
    share = (w - 1 / len(w)).clamp_min(0)
    along = share @ rows / share.sum()
    dual = along @ mean + c * mean.norm() * along.norm()
    return float((dual - (rows @ d).min()) / (mean.norm() * rows.norm(dim=1).max()))


def fair_gap(alpha: float) -> Callable[[Tensor, Tensor], float]:
    return lambda rows, w: float(((rows @ (w @ rows)) * w ** (1 / alpha) - 1).abs().max())


def nash_gap(rows: Tensor, w: Tensor) -> float:
    products = (rows @ (w @ rows)) * w  # equal at the solution, whatever the step was scaled to
    return float((products / products.mean() - 1).abs().max())


def worst_conflict(rows: Tensor, w: Tensor) -> float:
    return max(0.0, -float(torch.cosine_similarity(rows, (w @ rows)[None]).min()))


def spread(rows: Tensor, w: Tensor) -> float:
    along = rows @ (w if len(w) == rows.shape[1] else w @ rows) / rows.norm(dim=1)
    return float((along - along.mean()).abs().max() / along.mean().abs())


def aligned_gap(rows: Tensor, w: Tensor) -> float:
    left, sigma, right = torch.linalg.svd(rows, full_matrices=False)
    wanted = (left @ right).sum(0) * sigma.min()
    got = w @ rows
    return float((got / got.norm() - wanted / wanted.norm()).norm())


@dataclass(frozen=True)
class Contest:
    """A method, ours and theirs.

    Args:
        ours: makes our balancer.
        theirs: makes TorchJD's, from its package and the number of tasks.
        gap: from the gradients and the weights (or the step).
    """

    ours: Callable[[], GramianBalancer]
    theirs: Callable[[object, int], Callable[[Tensor], Tensor]]
    gap: Callable[[Tensor, Tensor], float] | None
    on_vectors: bool = False  # TorchJD's takes the gradients, not the Gramian


CONTESTS = {
    "MGDA": Contest(MGDA, lambda jd, t: jd.MGDAWeighting(), mgda_gap),
    "PCGrad": Contest(PCGrad, lambda jd, t: jd.PCGradWeighting(), None),
    "GradVac": Contest(GradVac, lambda jd, t: jd.GradVacWeighting(), None),
    "CAGrad": Contest(CAGrad, lambda jd, t: jd.CAGradWeighting(0.5), cagrad_gap),
    "NashMTL": Contest(NashMTL, lambda jd, t: jd.NashMTL(t, 0.0, 1, 20).weighting, nash_gap, on_vectors=True),
    "FairGrad": Contest(FairGrad, lambda jd, t: jd.FairGradWeighting(2.0), fair_gap(2.0)),
    "IMTLG": Contest(IMTLG, lambda jd, t: jd.IMTLGWeighting(), spread),
    "ConFIG": Contest(ConFIG, lambda jd, t: jd.ConFIG(), spread, on_vectors=True),
    "AlignedMTL": Contest(AlignedMTL, lambda jd, t: jd.AlignedMTLWeighting(), aligned_gap),
    "UPGrad": Contest(UPGrad, lambda jd, t: jd.UPGradWeighting(), worst_conflict),
    "DualProj": Contest(DualProj, lambda jd, t: jd.DualProjWeighting(), worst_conflict),
}


def timed(do: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Milliseconds, and what came out."""
    start = time.perf_counter()
    result = do()
    return (time.perf_counter() - start) * 1e3, result


def compete(contest: Contest, size: int, kind: str, rounds: int, peers: object | None) -> dict[str, float]:
    """Over rounds: medians of milliseconds and of the ratio of the times, and the largest gaps."""
    ours = contest.ours()
    theirs = None if peers is None else contest.theirs(peers, size)
    milliseconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    gaps: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds + 1):
        rows = KINDS[kind](size, torch.Generator().manual_seed(number))
        gramian = rows @ rows.T
        gramian = (gramian + gramian.T) / 2
        runs: dict[str, Callable[[], Tensor]] = {"ours": partial(ours.weights, gramian)}
        if theirs is not None:
            runs["theirs"] = partial(theirs, rows if contest.on_vectors else gramian)
        for name in list(runs)[:: -1 if number % 2 else 1]:
            taken, result = timed(runs[name])
            if number > 0:  # the first one warms up
                milliseconds[name].append(taken)
                gaps[name].append(contest.gap(rows, result) if contest.gap else math.nan)
    ratios = [b / a for a, b in zip(milliseconds["ours"], milliseconds["theirs"], strict=False)]
    return {
        "ours": statistics.median(milliseconds["ours"]),
        "theirs": statistics.median(milliseconds["theirs"]) if ratios else math.nan,
        "ratio": statistics.median(ratios) if ratios else math.nan,
        "our gap": max(gaps["ours"]),
        "their gap": max(gaps["theirs"]) if ratios else math.nan,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 5, 10, 20, 40, 100])
    parser.add_argument("--kinds", nargs="+", default=["typical", "conflict"], choices=list(KINDS))
    parser.add_argument("--methods", nargs="+", default=list(CONTESTS), choices=list(CONTESTS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--most-seconds", type=float, default=2.0, help="larger sizes are left out beyond this a call")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        from torchjd import aggregation as peers
    except ImportError:
        peers = None
    missing: dict[str, str] = {}
    print("| method | gradients | tasks | ms | TorchJD ms | faster | gap | TorchJD gap |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in args.methods:
        contest = CONTESTS[name]
        for kind in args.kinds:
            slow = False
            for size in args.tasks:
                against = None if slow else peers
                try:
                    told = compete(contest, size, kind, args.rounds, against)
                except Exception as error:  # of the peer: our own would raise again below
                    missing[name] = str(error).split("\n")[0]
                    told = compete(contest, size, kind, args.rounds, None)
                slow = slow or told["theirs"] > args.most_seconds * 1e3
                cells = [
                    "–" if math.isnan(told[key]) else form.format(told[key])
                    for key, form in (
                        ("ours", "{:.2f}"),
                        ("theirs", "{:.2f}"),
                        ("ratio", "{:.1f}x"),
                        ("our gap", "{:.0e}"),
                        ("their gap", "{:.0e}"),
                    )
                ]
                print(f"| {name} | {kind.replace('_', ' ')} | {size} | {' | '.join(cells)} |", flush=True)
    for name, reason in missing.items():
        print(f"\nTorchJD's {name}: {reason}")


if __name__ == "__main__":
    main()

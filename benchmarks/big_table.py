"""How soon a table of 1,000,000 rows x 30 columns gives its first batch, in how much memory, and how fast the rest.

    python benchmarks/big_table.py [--rows 1000000] [--format parquet] [--folder FOLDER] [--batch 512]

Makes the table (20 numbers, 5 categories, 2 dates, 3 targets; some cells missing) and starts a Python of its own for
each of: the table in memory; kept in a store for the first time; kept there already. Each tells

first batch  seconds from the start of Python, imports and all, until the first batch of 512 shuffled rows is there; and
             how many of them the processors worked for it (more than that on a machine with other work)
peak         the most resident memory until then
steady       the most resident memory during an epoch, without (and with) the pages of files, which the system may
             take back
loader       microseconds for a batch: median, and the slowest of 100
step         microseconds of forward, backward and Adam of the problem's default trunk, an MLP of 128 and 64 units, with
             3 heads; median, and the fastest of 100
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TARGETS = ("rich:binary", "job:multiclass", "hours:regression")


def generate(path: Path, rows: int) -> None:
    """Write the table."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    table: dict[str, pl.Series] = {}
    for number in range(20):
        cells = pl.Series(rng.normal(size=rows))
        table[f"number {number}"] = cells.set(pl.Series(rng.random(rows) < 0.02), None) if number % 4 == 0 else cells
    for number in range(5):
        words = np.array([f"word {k}" for k in range(4 * 3**number)])
        table[f"category {number}"] = pl.Series(words[rng.integers(len(words), size=rows)])
    for number in range(2):
        days = pl.Series(rng.integers(15_000, 20_000, size=rows).astype(np.int32))
        table[f"date {number}"] = days.cast(pl.Date)
    score = table["number 1"].to_numpy() + 0.5 * table["number 2"].to_numpy()
    table["rich"] = pl.Series(np.array(["no", "yes"])[(score > 0.5).astype(int)])
    table["job"] = pl.Series(np.array(["cook", "nurse", "smith"])[rng.integers(3, size=rows)])
    table["hours"] = pl.Series((40 + 5 * score + rng.normal(size=rows)).round(2))
    frame = pl.DataFrame(table)
    {
        ".parquet": frame.write_parquet,
        ".arrow": frame.write_ipc,
        ".csv": frame.write_csv,
        ".jsonl": frame.write_ndjson,
    }[path.suffix](path)


def resident() -> tuple[float, float]:
    """MiB of this process, without and with pages of files (Linux)."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    own, files = (int(told[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, own + files


def times(work: Callable[[], object], count: int = 100) -> list[float]:
    """Microseconds of each call."""
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        work()
        found.append((time.perf_counter() - begun) * 1e6)
    return found


def measure(path: Path, store: Path | None, batch_size: int, begun: float) -> None:
    """Print one line."""
    from polytask import problems

    problem = problems.table(path, TARGETS, store=store)
    batches = iter(problem.loader("train", batch_size, shuffle=True))
    batch = next(batches)
    first, worked = time.time() - begun, time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    import torch

    from polytask.sharing import HardSharing

    model = HardSharing(problem.backbone, problem.tasks)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        sum(problem.losses(model(batch.inputs), batch.targets).values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    times(step, 10)
    stepped = times(step)
    loaded = times(lambda: next(batches))
    highest = (0.0, 0.0)
    for number, _ in enumerate(problem.loader("train", batch_size, shuffle=True, seed=1)):
        if number % 20 == 0:  # every batch is loaded, not every one learned
            step()
            highest = max(highest, resident(), key=lambda each: each[1])
    print(
        f"first batch {first:5.1f} s (worked {worked:5.1f} s)   peak {peak:5.0f} MiB   "
        f"steady {highest[0]:4.0f} ({highest[1]:4.0f}) MiB   "
        f"loader {statistics.median(loaded):5.0f} (at most {max(loaded):6.0f}) us   "
        f"step {statistics.median(stepped):5.0f} (at least {min(stepped):5.0f}) us",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--format", default="parquet", choices=("parquet", "arrow", "csv", "jsonl"))
    parser.add_argument("--folder", type=Path, help="where table and store are written; a temporary one by default")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.store, options.batch, float(os.environ["BEGUN"]))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / f"table.{options.format}"
        generate(path, options.rows)
        print(f"{options.rows:,} x 30, {options.format}: {path.stat().st_size / 2**20:.0f} MiB", flush=True)
        kept = ["--store", str(Path(folder) / "store")]
        for name, more in (("in memory", []), ("store, first time", kept), ("store, again", kept)):
            print(f"{name:<18}", end=" ", flush=True)
            command = [sys.executable, __file__, "--measure", str(path), "--batch", str(options.batch), *more]
            subprocess.run(command, check=True, env={**os.environ, "BEGUN": str(time.time())})


if __name__ == "__main__":
    main()

"""How fast, and in how much memory, a table of 200,000 rows x 40 columns becomes a problem.

    python benchmarks/tables.py [--rows 200000] [--columns 40]

Generates the file (three quarters numbers, one quarter words, some missing) in a temporary folder, as CSV
and as Parquet, and prints seconds and peak memory of each in a process of its own, next to the size of the
data.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = ("import", "read", "prepare")


def generate(folder: Path, rows: int, columns: int) -> list[Path]:
    """A CSV and a Parquet file of the same table."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    table: dict[str, pl.Series] = {}
    for number in range(columns - 2):
        name = f"c{number}"
        if number % 4 == 3:
            words = np.array([f"word {k}" for k in range(5 + 20 * number)])
            cells = pl.Series(words[rng.integers(len(words), size=rows)])
        else:
            cells = pl.Series(rng.normal(size=rows).round(6))
        table[name] = cells.set(pl.Series(rng.random(rows) < 0.02), None) if number % 3 == 0 else cells
    table["income"] = pl.Series(np.array(["low", "high"])[(table["c1"].to_numpy() > 0.5).astype(int)])
    table["hours"] = pl.Series((40 + 5 * table["c2"].to_numpy() + rng.normal(size=rows)).round(3))
    frame = pl.DataFrame(table)
    frame.write_csv(folder / "table.csv")
    frame.write_parquet(folder / "table.parquet")
    return [folder / "table.csv", folder / "table.parquet"]


def peak() -> float:
    """Peak resident memory of this process so far, MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(path: str) -> None:
    """Print seconds and peak memory after every stage."""
    start = time.perf_counter()
    from polytask.data.tables import prepare, read_table

    seconds, memory = [time.perf_counter() - start], [peak()]
    start = time.perf_counter()
    frame = read_table(path)
    seconds.append(time.perf_counter() - start)
    memory.append(peak())
    start = time.perf_counter()
    prepared = prepare(frame, ["income:binary", "hours:regression"])
    seconds.append(time.perf_counter() - start)
    memory.append(peak())
    for stage, took, high in zip(STAGES, seconds, memory, strict=True):
        print(f"  {stage:<8} {took:6.2f} s   peak {high:7.0f} MiB   (+{high - memory[0]:.0f} MiB since import)")
    tensors = [
        tensor for data in prepared.splits.values() for tensor in (*dict(data.inputs).values(), *data.targets.values())
    ]
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    print(f"  table in memory {frame.estimated_size('mb'):.0f} MiB, tensors {held / 2**20:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in generate(Path(folder), options.rows, options.columns):
            size = path.stat().st_size / 2**20
            print(f"{options.rows:,} x {options.columns}, {path.suffix[1:]}: {size:.0f} MiB on disk")
            sys.stdout.flush()
            subprocess.run([sys.executable, __file__, "--measure", str(path)], check=True)


if __name__ == "__main__":
    main()

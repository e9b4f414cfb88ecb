"""Linear baselines of the problem `fdu_mtl`: what its networks have to beat.

    python benchmarks/reviews.py --data-root DATA

Logistic regression on TF-IDF of the words that the networks read, one model per domain and one for all, once without
the reviews that are in two splits and once with them. Mean accuracy over the domains on test data; nothing is tuned.
"""

import argparse

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from polytask import problems
from polytask.problems import Problem


def counts(problem: Problem, split: str) -> csr_matrix:
    """How often each row has each word, [rows, words]."""
    words = problem.splits[split].inputs["text"].numpy()
    rows, places = np.nonzero(words)
    size = problem.backbone.parts["text"].vocabulary
    return csr_matrix((np.ones(len(rows)), (rows, words[rows, places])), (len(words), size))


def accuracies(problem: Problem) -> tuple[float, float]:
    """Of a model per domain, and of one for all."""
    texts = {split: counts(problem, split) for split in ("train", "test")}
    rows = {split: {name: each.numpy() for name, each in problem.splits[split].pools().items()} for split in texts}
    labels = {
        split: np.concatenate([problem.splits[split].targets[name].numpy()[own] for name, own in rows[split].items()])
        for split in texts
    }  # the data sets are stacked in this order

    def scores(learned: np.ndarray, asked: list[np.ndarray]) -> list[float]:
        weights = TfidfTransformer().fit(texts["train"][learned])
        model = LogisticRegression(C=10, max_iter=500).fit(
            weights.transform(texts["train"][learned]), labels["train"][learned]
        )
        return [model.score(weights.transform(texts["test"][own]), labels["test"][own]) for own in asked]

    apart = [scores(rows["train"][name], [own])[0] for name, own in rows["test"].items()]
    return float(np.mean(apart)), float(np.mean(scores(np.arange(len(labels["train"])), list(rows["test"].values()))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True)
    root = parser.parse_args().data_root
    print("| logistic regression on TF-IDF | a model per domain | one for all |\n| --- | ---: | ---: |")
    for repeats, told in ((False, "without repeated reviews"), (True, "with them")):
        apart, joint = accuracies(problems.fdu_mtl(root, repeats=repeats))
        print(f"| {told} | {apart:.3f} | {joint:.3f} |", flush=True)


if __name__ == "__main__":
    main()

"""The HTML report: complete, self-contained, escaped, and drawn by a real browser."""

import json
import math
import os
import random
import re
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from polytask.evaluation import Interval
from polytask.study.report import render, write
from polytask.study.summary import ArmSummary, MetricInfo, Summary, TaskInfo

T_QUANTILE = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


def interval(values: Sequence[float]) -> Interval:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None, len(values))
    half = T_QUANTILE[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half, len(values))


CLASSES = (MetricInfo("accuracy", True, ""), MetricInfo("f1", True, ""))
ERRORS = (MetricInfo("mae", False, "h"),)
TASKS = (
    TaskInfo("left", "multi-class", False, 1.0, CLASSES),
    TaskInfo("right", "multi-class", False, 1.0, CLASSES),
    TaskInfo("ink", "regression", True, 1.0, ERRORS),
)
JOINT = ("hard + Equal", "hard + PCGrad")


def epochs(
    generator: random.Random, tasks: Sequence[TaskInfo], count: int, bonus: float, joint: bool
) -> list[dict[str, Any]]:
    """Learning curves of one run that look like learning."""
    names = [task.name for task in tasks]
    found = []
    for epoch in range(1, count + 1):
        done = 1 - math.exp(-3.0 * epoch / count)
        train, validation = {}, {}
        for index, task in enumerate(tasks):
            wobble = generator.gauss(0, 0.01)
            loss = 2.2 - 1.7 * done + wobble - bonus
            weight = 1 + 0.6 * math.sin(epoch / 4 + index) * done if joint else 1.0
            train[task.name] = {"loss": loss * (0.95 - 0.15 * done), "weight": weight}
            good = 0.1 + 0.8 * done + wobble + bonus
            validation[task.name] = {"loss": loss} | {
                metric.name: good if metric.higher_is_better else 12 - 8 * done + wobble * 10 for metric in task.metrics
            }
        size = len(names)
        cosine = [
            [1.0 if i == j else 0.5 * (1 - done) + generator.gauss(0, 0.08) - 0.1 * (i + j) / size for j in range(size)]
            for i in range(size)
        ]
        found.append(
            {
                "epoch": epoch,
                "step": 40 * epoch,
                "seconds": 1.2 * epoch,
                "learning_rate": 1e-3,
                "score": -0.2,
                "train": train,
                "validation": validation,
                "conflict": {
                    "tasks": names,
                    "cosine": cosine,
                    "norm": [0.4 + 0.3 * i + 0.2 * done for i in range(size)],
                }
                if joint
                else None,
            }
        )
    return found


def study(
    tasks: tuple[TaskInfo, ...] = TASKS,
    joint: tuple[str, ...] = JOINT,
    seeds: tuple[int, ...] = (0, 1, 2),
    count: int = 12,
    fail: bool = True,
) -> tuple[Summary, list[dict[str, Any]]]:
    """A comparison as it could have come out, with its records; if `fail`, the last arm loses a seed."""
    generator = random.Random(1)
    base = {
        task.name: {
            metric.name: {
                seed: (0.88 if metric.higher_is_better else 4.1) + generator.gauss(0, 0.006) for seed in seeds
            }
            for metric in task.metrics
        }
        for task in tasks
    }
    records: list[dict[str, Any]] = [
        {
            "schema": 1,
            "key": f"b{task.name}{seed}",
            "status": "finished",
            "error": None,
            "problem": "digits",
            "arm": "single-task",
            "baseline": True,
            "tasks": [task.name],
            "seed": seed,
            "parameters": 60_000,
            "seconds": 9.0,
            "memory_mib": 40.0,
            "epochs": epochs(generator, [task], count, 0, False),
        }
        for task in tasks
        for seed in seeds
    ]
    arms = [
        ArmSummary(
            "single-task",
            True,
            "Independent",
            "",
            seeds,
            (),
            {t: {m: interval(list(v.values())) for m, v in ms.items()} for t, ms in base.items()},
            {},
            {},
            None,
            None,
            1.9,
            0,
            0,
            interval([9.0 * len(tasks) + 0.1 * seed for seed in seeds]),
            60_000 * len(tasks),
            40.0,
            False,
            None,
        )
    ]
    for index, name in enumerate(joint):
        failing = fail and index == len(joint) - 1
        ran = seeds[:-1] if failing and len(seeds) > 1 else seeds
        bonus = generator.gauss(0.012, 0.012)
        scores, gains, task_gain = {}, {}, {}
        for task in tasks:
            scores[task.name], gains[task.name] = {}, {}
            shift = bonus + generator.gauss(0, 0.01)
            every = []
            for metric in task.metrics:
                b = base[task.name][metric.name]
                factor = 1 + (shift if metric.higher_is_better else -shift)
                s = {seed: b[seed] * factor + generator.gauss(0, 0.002) * b[seed] for seed in ran}
                direction = 100 if metric.higher_is_better else -100
                percent = [direction * (s[seed] - b[seed]) / b[seed] for seed in ran]
                scores[task.name][metric.name] = interval(list(s.values()))
                gains[task.name][metric.name] = interval(percent)
                every.append(percent)
            task_gain[task.name] = interval([statistics.fmean(row) for row in zip(*every, strict=True)])
        main = [task_gain[task.name].mean for task in tasks if not task.auxiliary]
        delta = interval([statistics.fmean(main) + generator.gauss(0, 0.4) for _ in ran])
        clear = [
            g for task in tasks if (g := task_gain[task.name]).low is not None and g.low > 0 and not task.auxiliary
        ]
        arms.append(
            ArmSummary(
                name,
                False,
                "HardSharing(shared_stages=None)",
                name.split("+")[-1].strip(),
                ran,
                ("seed 2: loss became NaN",) if failing else (),
                scores,
                gains,
                task_gain,
                delta,
                delta,
                1.5 + 0.1 * index,
                len(clear),
                0,
                interval([11.0 + index * 2 + 0.2 * seed for seed in ran]),
                66_000 + 40 * index,
                44.0,
                index == 0,
                delta.mean - 0.3,
            )
        )
        for seed in seeds:
            failed = seed not in ran
            records.append(
                {
                    "schema": 1,
                    "key": f"{name}{seed}",
                    "status": "failed" if failed else "finished",
                    "error": "loss of task 'left' became NaN at step 41" if failed else None,
                    "problem": "digits",
                    "arm": name,
                    "baseline": False,
                    "tasks": [task.name for task in tasks],
                    "seed": seed,
                    "parameters": 66_000,
                    "seconds": 11.0,
                    "memory_mib": 44.0,
                    "epochs": [] if failed else epochs(generator, tasks, count, bonus, index > 0),
                }
            )
    return Summary(
        "digits",
        "Two digits in one image",
        "Two real handwritten digits overlaid; read both.",
        "scikit-learn load_digits (UCI ML repository)",
        "CC BY 4.0",
        ("Source digits are split before composing.",),
        tasks,
        tuple(arms),
        (
            "Train the two tasks together: hard + Equal gained 1.2 % over single-task.",
            "The interval from 0.4 % to 2.0 % leaves 0 out, and it needs 0.55 times the parameters.",
        ),
        seeds,
        {"epochs": count, "batch_size": 128, "learning_rate": 0.001, "weight_decay": 0.0},
        "polytask compare digits --seeds 3 --epochs 12",
    ), records


class Page(HTMLParser):
    """Tags with their attributes, visible text, and whether every tag was closed in order."""

    VOID = frozenset({"meta", "link", "br", "input", "img", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.words: list[str] = []
        self.broken: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack.pop() != tag:
            self.broken.append(tag)

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.stack):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if name in (attributes.get("class") or "").split()]


@pytest.fixture(scope="module")
def html() -> str:
    return render(*study())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_wellformed_verdict_first_and_all_sections(html: str, page: Page) -> None:
    assert html.lstrip().startswith("<!doctype html>")
    assert not page.broken and not page.stack
    assert html.index("<h1>Train the two tasks together") < html.index("<table>")
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert {"results", "gains", "curves", "weights", "conflict", "cost", "how"} <= set(ids)
    assert len(ids) == len(set(ids))
    assert len(page.named("h1")) == 1


def test_tables_hold_scores_intervals_and_failures(page: Page) -> None:
    summary, _ = study()
    accuracy = next(arm for arm in summary.arms if arm.chosen).scores["left"]["accuracy"]
    assert accuracy.low is not None and accuracy.high is not None
    assert f"{accuracy.mean:.3f}" in page.text and f"{accuracy.low:.3f} to {accuracy.high:.3f}" in page.text
    assert "chosen on validation" in page.text and "baseline" in page.text
    assert "loss of task 'left' became NaN at step 41" in page.text
    assert "2 of 3 seeds" in page.text
    assert page.text.index("Failed runs") > page.text.index("Auxiliary tasks")


def test_auxiliary_task_is_set_apart(html: str) -> None:
    tables = re.findall(r"<caption[^>]*>(.*?)</caption>(.*?)</table>", html, re.DOTALL)
    by_label = dict(tables)
    assert "ink" not in by_label["Test scores"] and "left" in by_label["Test scores"]
    assert "ink" in by_label["Test scores of auxiliary tasks"]


def test_nothing_from_outside(html: str, page: Page) -> None:
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), value
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|https?://", html)
    policy = next(a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'")


def test_every_chart_is_described_and_has_its_data(html: str, page: Page) -> None:
    figures = re.findall(r"<figure.*?</figure>", html, re.DOTALL)
    assert len(figures) > 10
    for figure in figures:
        assert 'role="img"' in figure and "aria-label=" in figure and "<details>" in figure and "<table>" in figure
    assert all(attributes.get("scope") for attributes in page.named("th") if attributes.get("class") != "arm")


def test_baseline_leads_and_best_is_marked(html: str) -> None:
    body = html[html.index("<tbody>") :]
    assert body.index('class="base"') < body.index('class="picked"')
    assert 'class="best"' in html


def test_hostile_and_long_names_are_text() -> None:
    evil = "<script>alert(1)</script>\"'&"
    long = "Größe des 数字 " * 12
    tasks = (
        replace(TASKS[0], name=evil, metrics=(MetricInfo("</script><img src=x onerror=alert(2)>", True, ""),)),
        replace(TASKS[1], name=long),
    )
    summary, records = study(tasks=tasks, joint=("</style><b onclick=x>", "{{ 7*7 }}"))
    summary = replace(summary, title=evil, verdict=(evil,), command=evil, source=evil, notes=(evil,))
    text = render(summary, records)
    result = Page(text)
    assert "<script>alert" not in text and "<img" not in text and "<b onclick" not in text
    assert not result.broken and not result.stack
    assert evil in result.text and "{{ 7*7 }}" in result.text and long.strip() in result.text
    assert not any(name.startswith("on") for _, attributes in result.tags for name in attributes)


def test_one_task_one_seed() -> None:
    text = Page(render(*study(tasks=TASKS[:1], joint=("hard + Equal",), seeds=(0,), count=1, fail=False))).text
    assert "One seed, so no intervals" in text
    assert "None: that takes at least two seeds" in text


def strip(records: list[dict[str, Any]], **values: Any) -> list[dict[str, Any]]:
    return [{**record, "epochs": [{**epoch, **values} for epoch in record["epochs"]]} for record in records]


def test_empty_epochs_null_conflict_null_weights() -> None:
    summary, records = study()
    assert "No epochs were recorded" in render(summary, [{**record, "epochs": []} for record in records])
    text = render(summary, strip(records, conflict=None, train={"left": {"loss": 1.0, "weight": None}}))
    assert (
        "Gradients of the tasks were not compared" in text and "No method in this comparison recorded weights" in text
    )
    assert "No epochs were recorded" in render(summary, [])


def test_nan_shows_as_not_available() -> None:
    summary, records = study()
    bad = Interval(math.nan, None, None, 3)
    arm = summary.arms[1]
    arm = replace(
        arm,
        scores={**arm.scores, "left": {"accuracy": bad, "f1": bad}},
        delta_m_tasks=bad,
        memory_mib=math.nan,
        task_gain={**arm.task_gain, "left": bad},
        gains={},
        seconds=bad,
    )
    for record in records:
        for epoch in record["epochs"]:
            epoch["validation"].get("left", {})["accuracy"] = math.nan
    text = render(replace(summary, arms=(summary.arms[0], arm, summary.arms[2])), records)
    assert "n/a" in text and "whose single-task score is 0, or could not be computed, has no gain (n/a)" in text
    assert not re.search(r"\bnan\b|NaN(?! at)|Infinity", Page(text).text.replace("became NaN", ""))
    assert not re.search(r'"[^"]*\bnan\b[^"]*"', re.sub(r'aria-label="[^"]*"', "", text))


def test_all_arms_failed() -> None:
    summary, records = study()
    broken = replace(
        summary.arms[2],
        seeds=(),
        failed=("seed 0: out of memory",),
        scores={},
        gains={},
        task_gain={},
        delta_m_metrics=None,
        delta_m_tasks=None,
        mean_rank=math.nan,
        seconds=Interval(math.nan, None, None, 0),
        parameters=0,
        memory_mib=math.nan,
        chosen=False,
    )
    records = [record for record in records if record["baseline"]]
    text = Page(render(replace(summary, arms=(summary.arms[0], broken), verdict=()), records)).text
    assert "out of memory" in text and "No verdict" in text


def test_many_arms_and_tasks_stay_within_bounds() -> None:
    tasks = tuple(replace(TASKS[index % 2], name=f"task {index}") for index in range(12))
    joint = tuple(f"hard + Method{index}" for index in range(11))
    text = render(*study(tasks=tasks, joint=joint, count=30))
    assert len(text.encode()) < 6_000_000
    widths = [int(width) for width in re.findall(r'colspan="(\d+)"', text)]
    assert widths and max(widths) <= 6
    assert "The pairs most opposed are in colour" in text
    gradients = text[text.index('<section id="conflict">') : text.index('<section id="cost">')]
    assert 'class="band"' not in gradients, "shades of many pairs would hide the lines"
    chart = gradients[gradients.index("<figure") : gradients.index("</figure>")]
    muted = [" muted" in each for each in re.findall(r'<g class="series ([^"]*)"', chart)]
    assert muted == sorted(muted, reverse=True) and len(set(muted)) == 2, "lines in colour lie above those in grey"


def test_gains_of_many_tasks_are_seen_at_a_glance() -> None:
    summary, records = study(tasks=tuple(replace(TASKS[0], name=f"task {index}") for index in range(9)))
    drawn = render(summary, records).partition("Task by task: gain of ")[2].partition("<details>")[0]
    chosen = next(arm for arm in summary.arms if arm.chosen)
    assert drawn.startswith(chosen.name)
    order = sorted(chosen.task_gain, key=lambda name: -chosen.task_gain[name].mean)
    assert re.findall(r'class="who" title="([^"]*)"', drawn) == order
    assert "Task by task" not in render(*study())


def test_write_replaces_in_one_step(tmp_path: Path) -> None:
    summary, records = study()
    path = write(summary, records, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == render(summary, records)
    assert write(summary, records, str(path)) == path
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
    assert len(path.read_bytes()) < 600_000


def opened(address: str, folder: Path) -> str:
    """The page as a headless browser has it after loading; no message on its console may have come."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next((path for name in names if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium or chrome on PATH: the report is not opened in a browser here")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --window-size=1000,1600 --dump-dom"
    )
    command = [program, *flags.split(), f"--user-data-dir={folder / 'profile'}", address]
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
    return done.stdout


@pytest.mark.browser
def test_browser_draws_it_without_errors(tmp_path: Path) -> None:
    path = write(*study(), tmp_path / "report.html")
    result = Page(opened(f"{path.as_uri()}#theme=dark", tmp_path))
    assert result.named("html")[0].get("data-theme") == "dark"  # the script ran to its end of set-up
    assert result.with_class("tip")
    assert len(result.with_class("line")) > 20
    assert len(result.with_class("est")) == 8  # two joint arms: all tasks together, and three tasks


PHONE = """<!doctype html><iframe style="width:360px;height:800px;border:0"></iframe><pre></pre><script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, all = (selector) => [...page.querySelectorAll(selector)], found = {};
  found.width = page.documentElement.scrollWidth;
  all("details").forEach((part) => { part.open = true; });
  found.opened = page.documentElement.scrollWidth;
  all("#curves .legend button")[1].click();
  found.muted = all("#curves .series.muted").length;
  found.before = all("figure[data-shown]:not([hidden])").length;
  all("#choice input").at(-1).click();
  found.loss = all("figure[data-shown]:not([hidden])").map((figure) => figure.dataset.shown);
  const area = all("figure[data-shown]:not([hidden]) svg.area")[0], box = area.getBoundingClientRect();
  const move = {clientX: box.left, clientY: box.top, bubbles: true};
  area.dispatchEvent(new frame.contentWindow.PointerEvent("pointermove", move));
  found.tip = page.querySelector(".tip").hidden ? "" : page.querySelector(".tip").textContent;
  page.querySelector("#theme").click();
  found.theme = page.documentElement.dataset.theme;
  document.querySelector("pre").textContent = JSON.stringify(found);
};
frame.srcdoc = __PAGE__;
</script>"""


@pytest.mark.browser
def test_browser_fits_a_phone_and_answers(tmp_path: Path) -> None:
    summary, records = study(tasks=(replace(TASKS[0], name="a_very_long_name_without_any_break_" * 3), *TASKS[1:]))
    text = json.dumps(render(summary, records)).replace("<", "\\u003c")
    wrapper = tmp_path / "phone.html"
    wrapper.write_text(PHONE.replace("__PAGE__", text), encoding="utf-8")
    told = re.search(r"<pre>(\{.*?\})</pre>", opened(wrapper.as_uri(), tmp_path))
    assert told
    found = json.loads(told[1])
    assert found["width"] <= 360
    assert found["opened"] <= 360
    assert found["muted"] > 0
    assert found["before"] == 3
    assert found["loss"] == ["loss"] * 3
    assert found["tip"].startswith("epoch 1")
    assert "(training)" in found["tip"]
    assert found["theme"] in ("dark", "light")

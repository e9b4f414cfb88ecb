"""The report as one HTML page: what is shown, in which order, with everything it needs inside."""

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from polytask.study.report import costs, dots, gains, inside, levels, members, numbers, pictures, rare, sections, tables
from polytask.study.report.marks import arm_marks, task_marks

if TYPE_CHECKING:
    from polytask.study.summary import ArmSummary, Summary

TEMPLATES = "templates"


def render(summary: "Summary", records: Sequence[Mapping[str, Any]]) -> str:
    """The comparison as one self-contained HTML page: it opens offline and asks for nothing from outside.

    Verdict first, then tables, gains with intervals, how much to share and what rare classes gain (where the study
    says something about it), pictures of what the networks say of a few images (where the tasks can be shown), learning
    curves, task weights, agreement of gradients, what the networks tell of their inside, cost against gain, and how it
    was done. All texts are escaped; a content security policy forbids requests.

    Args:
        summary: what the comparison found; only its attributes are read.
        records: the runs it was made from, one per trained network, for everything drawn over epochs.

    Returns:
        The HTML text.

    Cost: linear in records x epochs x tasks; well under a second and some 200 kB for usual studies. Pictures add their
    own size; they are made smaller, and the page says so, where they would exceed 12 MB.
    """
    return document("report.html.j2", context(summary, list(records)))


def document(template: str, told: Mapping[str, Any]) -> str:
    """A page from one of our templates, with styles and scripts inside."""
    script = _asset("report.js") + _asset("pictures.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template(template).render(**told, css=_style(), script=Markup(script), digest=digest)


def write(summary: "Summary", records: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Write the page to `path` (folders are made, an older report is replaced at once) and return it."""
    return save(render(summary, records), path)


def save(text: str, path: str | os.PathLike[str]) -> Path:
    """Write a page at once, in folders that are made where they are missing."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target


def context(summary: "Summary", records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that the page of a comparison shows, by the name that the template gives it."""
    marks, tasks = arm_marks(summary), task_marks(summary.tasks)
    chosen = next((arm for arm in summary.arms if arm.chosen), None)
    baseline = next((arm for arm in summary.arms if arm.baseline), None)
    return {
        "summary": summary,
        "percent": f"{100 * summary.confidence:g} %",
        "intervals": any(
            arm.delta_m_tasks and numbers.finite(arm.delta_m_tasks.low) is not None for arm in summary.arms
        ),
        "marks": marks,
        "task_marks": tasks,
        "chosen": chosen,
        "tone": dots.tone(chosen.delta_m_tasks) if chosen else "open",
        "network": summary.network(records),
        "facts": _facts(chosen, baseline, len([task for task in summary.tasks if not task.auxiliary])),
        "overall": tables.overall(summary, marks),
        "scores": tables.scores(summary, marks, tasks, auxiliary=False),
        "auxiliary": tables.scores(summary, marks, tasks, auxiliary=True),
        "failures": tables.failures(summary, records),
        "gains": gains.gains(summary, marks, tasks),
        "pictures": pictures.pictures(summary, records, marks, tasks),
        "inside": inside.inside(summary, records, marks),
        "drawn": inside.drawn(summary, records, marks),
        "levels": levels.levels(summary, tasks),
        "rare": rare.rare(summary, marks),
        "members": members.members_of(summary, records, marks),
        "starts": {arm.name: _start(arm) for arm in summary.arms},
        "curves": sections.curves(summary, records, marks, tasks),
        "weights": sections.weights(summary, records, marks, tasks),
        "conflict": sections.conflict(summary, records, marks, tasks),
        "costs": costs.costs(summary, marks),
        "budget": in_words(summary.budget),
        "versions": in_words(_versions(records)),
        "validation": _validation(summary),
        "repeated_seeds": len(summary.seeds) > 1,
    }


def _facts(chosen: "ArmSummary | None", baseline: "ArmSummary | None", count: int) -> list[tuple[str, str, str]]:
    """The figures beside the verdict: (label, figure, small print)."""
    if chosen is None or chosen.baseline:
        return []
    gain = chosen.delta_m_tasks
    digits = min(2, numbers.places([gain.mean if gain else None]) - 1)
    inside = numbers.between(gain, digits, sign=True) or "one seed: no interval"
    facts = [
        (
            "Gain over single-task, Δm",
            numbers.fixed(gain.mean if gain else None, digits, sign=True) + " %",
            inside,
        ),
        ("Tasks better / worse", f"{chosen.tasks_better} / {chosen.tasks_worse}", f"of {count}"),
    ]
    if baseline:
        time = _times(chosen.seconds.mean, baseline.seconds.mean)
        took = f"{numbers.duration(chosen.seconds.mean)} against {numbers.duration(baseline.seconds.mean)}"
        facts.append(("Training time", time, f"of single-task: {took}"))
        size = _times(chosen.parameters, baseline.parameters)
        have = f"{numbers.amount(chosen.parameters)} against {numbers.amount(baseline.parameters)}"
        facts.append(("Parameters", size, f"of single-task: {have}"))
    return facts


def _validation(summary: "Summary") -> str:
    """The validation delta_m that the choice was made with, arm by arm."""
    found = [(arm.name, numbers.finite(arm.validation)) for arm in summary.arms if not arm.baseline]
    return ", ".join(f"{name} {numbers.fixed(value, 2, sign=True)} %" for name, value in found if value is not None)


def _start(arm: "ArmSummary") -> str:
    """What an arm that began with trained networks had spent before."""
    seconds = numbers.finite(arm.start_seconds)
    if seconds is None:
        return ""
    return (
        "; it starts from the single-task networks of the same seed, whose training "
        f"({numbers.duration(seconds)} a seed) comes on top of its own time"
    )


def _times(value: Any, base: Any) -> str:
    number, other = numbers.finite(value), numbers.finite(base)
    return numbers.MISSING if number is None or not other else f"{number / other:.2f} ×"


def in_words(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values as text; underscores become spaces, nested values JSON."""

    def say(value: Any) -> str:
        if isinstance(value, bool) or value is None:
            return {True: "yes", False: "no", None: "none"}[value]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

    return [(str(name).replace("_", " "), say(value)) for name, value in values.items()]


def _versions(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Versions as noted when the runs were made; empty where nobody noted them."""
    return next((record["versions"] for record in records if record.get("versions")), {})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("polytask.study.report", TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pos"] = lambda value: f"{value:.4g}"
    environment.filters["unbroken"] = lambda text: text.replace(" %", "\u00a0%")
    return environment


@cache
def _asset(name: str) -> str:
    return (resources.files("polytask.study.report") / TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _style() -> Markup:
    light, dark = _asset("light.css"), _asset("dark.css")
    themes = (
        f":root {{{light}}}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{{dark}}} }}\n"
        f":root[data-theme=dark] {{{dark}}}\n"
        f"@media print {{ :root:root:root {{{light}}} }}\n"
    )
    return Markup(themes + _asset("report.css") + _asset("pictures.css"))

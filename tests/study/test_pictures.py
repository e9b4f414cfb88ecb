"""The report of tasks that can be looked at: pictures side by side, what is inside, and a page of bounded size."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_report import Page, opened, strip, study

from polytask.study.examples import data_uri
from polytask.study.report import pictures, render, write
from polytask.study.report.webp import size_of, smaller
from polytask.study.summary import Summary

LEGEND = {"sky": "#0072b2", "<b>earth": "#e69f00"}


def noise(seed: int, side: int = 24) -> str:
    generator = torch.Generator().manual_seed(seed)
    return data_uri(torch.randint(255, (side, side, 3), generator=generator, dtype=torch.uint8))


def kept(tasks: list[str], arm: int, count: int = 3, side: int = 24, maps: bool = False) -> dict[str, Any]:
    """Pictures as a run keeps them: inputs and targets are the same for all."""
    found = {
        name: {
            "prediction": [noise(1000 * arm + 100 * ord(name[0]) + k, side) for k in range(count)],
            "error": [noise(1000 * arm + 100 * ord(name[0]) + 50 + k, side) for k in range(count)],
            "target": [noise(100 * ord(name[0]) + k, side) for k in range(count)],
        }
        for name in tasks
    }
    return {
        "rows": list(range(count)),
        "inputs": [noise(k, side) for k in range(count)],
        "tasks": found,
        "legends": {"left": LEGEND} if "left" in tasks else {},
        "maps": {"left, stage 1": [noise(k, 8) for k in range(count)]} if maps else {},
        "map_ranges": {"left, stage 1": [0.25, 0.75]} if maps else {},
        "maps_left_out": 2 if maps else 0,
    }


def pictured(**options: Any) -> tuple[Summary, list[dict[str, Any]]]:
    """A study whose runs of seed 0 kept pictures of "left" and "right"; the last arm has attention maps."""
    summary, records = study(fail=False)
    arms = [arm.name for arm in summary.arms]
    for record in records:
        if record["seed"] == 0 and record["tasks"] != ["ink"]:
            number = arms.index(record["arm"])
            shown = [name for name in record["tasks"] if name != "ink"]
            record["examples"] = kept(shown, number, **options, maps=number == 2)
    return summary, records


def section(text: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', text, re.DOTALL)
    return found[0] if found else ""


def test_every_arm_s_pictures_stand_beside_the_same_target() -> None:
    summary, records = pictured()
    text = render(summary, records)
    page = Page(section(text, "pictures"))
    assert not page.broken and not page.stack
    alts = [attributes["alt"] for attributes in page.named("img")]
    for task in ("left", "right"):
        for k in (1, 2, 3):
            assert alts.count(f"Target of {task}, example {k}") == 1
            for arm in summary.arms:
                assert alts.count(f"Prediction of {task}, example {k}, by {arm.name}") == 1
                assert alts.count(f"Error of {task}, example {k}, by {arm.name}") == 1
    first = alts.index("Input, example 1")
    order = [alts.index(f"Prediction of left, example 1, by {arm}") for arm in
             ("single-task", *sorted((a.name for a in summary.arms[1:]), key=lambda name: alts.index(
                 f"Prediction of left, example 1, by {name}")))]  # fmt: skip
    assert first < alts.index("Target of left, example 1") < order[0] == min(order)
    uris = {record["arm"]: record["examples"]["tasks"]["left"]["prediction"][1] for record in records if
            record.get("examples") and "left" in record["tasks"]}  # fmt: skip
    for arm, uri in uris.items():
        there = next(a for a in page.named("img") if a["alt"] == f"Prediction of left, example 2, by {arm}")
        assert there["src"] == uri and there["width"] == "24" and "coarse" in (there["class"] or "")
    assert "Error maps are dark where the prediction is right" in page.text


def test_legend_and_maps_are_told_and_escaped() -> None:
    text = section(render(*pictured()), "pictures")
    assert "background:#0072b2" in text and "&lt;b&gt;earth" in text and "<b>earth" not in text
    page = Page(text)
    assert "left, stage 1 0.25 to 0.75" in page.text and "2 further maps were not kept" in page.text
    assert sum("left, stage 1, example" in (a["alt"] or "") for a in page.named("img")) == 3


def test_hostile_pictures_are_no_tags() -> None:
    summary, records = pictured()
    evil = 'x" onerror="alert(1)'
    for record in records:
        if "left" in record.get("examples", {}).get("tasks", {}):
            record["examples"]["legends"] = {"left": {"a": 'red" onclick="alert(1)'}}
            record["examples"]["maps"] = {evil: record["examples"]["inputs"]}
    result = Page(render(summary, records))
    assert not any(name.startswith("on") for _, attributes in result.tags for name in attributes)


def test_nothing_is_shown_where_there_is_nothing() -> None:
    text = render(*study())
    assert not section(text, "pictures") and 'href="#pictures"' not in text and "<img" not in text
    assert not section(text, "inside") and 'href="#inside"' not in text
    assert "Multiply-adds" not in text and "starts from the single-task" not in text


def test_a_sample_that_a_run_lacks_leaves_a_gap() -> None:
    summary, records = pictured()
    lacking = next(record for record in records if record["tasks"] == ["left"] and "examples" in record)
    told = lacking["examples"]
    told["inputs"][0] = None
    told["tasks"]["left"] = {name: [None, *each[1:]] for name, each in told["tasks"]["left"].items()}
    alts = [attributes["alt"] for attributes in Page(render(summary, records)).named("img")]
    assert "Prediction of left, example 1, by single-task" not in alts
    assert {"Input, example 1", "Target of left, example 1", "Prediction of left, example 2, by single-task"} <= set(
        alts
    )


def test_pictures_that_failed_are_told() -> None:
    summary, records = study()
    records[0]["examples"] = {"error": "RuntimeError: no such colour"}
    text = Page(section(render(summary, records), "pictures")).text
    assert "Pictures that could not be made" in text and "no such colour" in text


def test_a_page_of_many_large_pictures_stays_below_15_mb(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a smaller budget in place of larger pictures: what is tried is the same."""
    summary, records = pictured(count=4, side=256)
    whole = sum(len(each) for each in re.findall(r'src="(data:[^"]*)', render(summary, records)))
    seen = []
    for budget in (whole, whole // 2, whole // 5, whole // 20):
        monkeypatch.setattr(pictures, "BUDGET", budget)
        text = render(summary, records)
        uris = re.findall(r'src="(data:[^"]*)', text)
        assert sum(map(len, uris)) <= budget
        note = re.search(r"To keep this page below 15 MB, [^.]*\.", text)
        seen.append((max(size_of(uri)[0] for uri in uris), note[0] if note else ""))
    sides = [side for side, _ in seen]
    assert sides[0] == 256 and seen[0][1] == ""
    assert sides == sorted(sides, reverse=True) and sides[-1] < 128
    for side, note in seen[1:]:
        assert f"at most {side} pixels" in note
    assert "and 2 of 4 examples" in seen[-1][1] or "and 1 of 4 examples" in seen[-1][1]
    assert pictures.BUDGET < 15_000_000


def test_a_picture_is_made_smaller_and_not_larger() -> None:
    uri = noise(0, 200)
    assert size_of(smaller(uri, 100, 60)) == (100, 100) and len(smaller(uri, 100, 60)) < len(uri) / 3
    assert size_of(smaller(uri, 300, 60)) == (200, 200)


def told(epochs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        epoch | {"inside": {"stage 1": {"a from b": 0.1 * k, "b from a": 0.2}, "<i>": {"a from b": 0.3}}}
        for k, epoch in enumerate(epochs)
    ]


def test_what_is_inside_is_drawn_for_the_arms_that_tell_it() -> None:
    summary, records = study(fail=False)
    records = [each | {"epochs": told(each["epochs"])} if each["arm"] == "hard + PCGrad" else each for each in records]
    text = section(render(summary, records), "inside")
    page = Page(text)
    assert not page.broken and not page.stack
    assert page.text.count("hard + PCGrad") >= 1 and "hard + Equal" not in page.text
    assert "a from b" in page.text and "<i>" in page.text and "<i>" not in text
    data = [json.loads(each) for each in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    assert [[line["name"] for line in chart["series"]] for chart in data] == [["a from b", "b from a"], ["a from b"]]
    assert data[0]["series"][0]["v"][3] == pytest.approx(0.3)
    assert data[0]["series"][0]["key"] == data[1]["series"][0]["key"], "one colour in all panels of an arm"


def test_very_many_panels_are_counted() -> None:
    summary, records = study(fail=False)
    text = render(summary, strip(records, inside={f"stage {k}": {"x": 1.0} for k in range(20)}))
    assert text.count("8 panels more are in the records") == len(summary.arms) - 1


def test_multiply_adds_and_what_an_arm_had_spent_before() -> None:
    summary, records = study(fail=False)
    base, first, second = summary.arms
    arms = (replace(base, multiply_adds=6_000_000), replace(first, multiply_adds=2_000_000),
            replace(second, multiply_adds=4_000_000, start_seconds=754.0))  # fmt: skip
    page = Page(render(replace(summary, arms=arms), records))
    assert "Δm, %, against multiply-adds" in page.text and "one prediction of all tasks" in page.text
    assert "hard + PCGrad" in page.text and "whose training (12.6 min a seed) comes on top of its own time" in page.text


TRIED = """<!doctype html><iframe style="width:360px;height:800px;border:0"></iframe><pre></pre><script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, found = {}, all = (selector) => [...page.querySelectorAll(selector)];
  const seen = (selector) => all(selector).filter((part) => part.offsetParent !== null).length;
  const key = (target, name) => target.dispatchEvent(
    new frame.contentWindow.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  const dialog = page.querySelector("dialog");
  found.width = page.documentElement.scrollWidth;
  found.start = [seen(".shot.prediction"), seen(".shot.error")];
  page.querySelector("#shown input[value=error]").click();
  found.errors = [seen(".shot.prediction"), seen(".shot.error")];
  page.querySelector("#shown input[value=both]").click();
  found.both = [seen(".shot.prediction"), seen(".shot.error")];
  all("#of-task input")[1].click();
  found.one = seen(".of-task");
  page.querySelector("#shown input[value=prediction]").click();
  const shot = page.querySelector(".shot.prediction");
  found.stops = all("table.shots")[0].querySelectorAll('.shot[tabindex="0"]').length;
  shot.focus(); key(shot, "Enter");
  found.open = dialog.open; found.words = [dialog.querySelector("p").textContent];
  for (const name of ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft"]) {
    key(dialog, name);
    found.words.push(dialog.querySelector("p").textContent);
  }
  dialog.close();
  dialog.dispatchEvent(new frame.contentWindow.Event("close"));
  found.focus = page.activeElement.alt;
  document.querySelector("pre").textContent = JSON.stringify(found);
};
frame.srcdoc = __PAGE__;
</script>"""


@pytest.mark.browser
def test_browser_chooses_zooms_and_goes_by_keyboard(tmp_path: Path) -> None:
    summary, records = pictured()
    text = json.dumps(render(summary, records)).replace("<", "\\u003c")
    wrapper = tmp_path / "tried.html"
    wrapper.write_text(TRIED.replace("__PAGE__", text), encoding="utf-8")
    got = re.search(r"<pre>(\{.*?\})</pre>", opened(wrapper.as_uri(), tmp_path))
    assert got
    found = json.loads(got[1])
    assert found["width"] <= 360
    assert found["start"] == [18, 0] and found["errors"] == [0, 18] and found["both"] == [18, 18]
    assert found["one"] == 1 and found["stops"] == 1 and found["open"]
    arms = [words.partition(", by ")[2] for words in found["words"]]
    assert arms[0] == "single-task" and arms[1] not in ("", "single-task") and arms[2] == arms[1]
    assert [re.findall(r"example \d", words)[0] for words in found["words"]] == ["example 1"] * 2 + ["example 2"] * 3
    assert arms[3] == "single-task" and found["words"][4] == "Target of left, example 2"
    assert found["focus"] == "Target of left, example 2"


@pytest.mark.browser
def test_browser_takes_the_pictures_without_a_complaint(tmp_path: Path) -> None:
    """The content security policy lets pictures in, and nothing else."""
    page = Page(opened(write(*pictured(), tmp_path / "report.html").as_uri(), tmp_path))
    assert page.with_class("zoom") and len(page.with_class("shot")) > 40

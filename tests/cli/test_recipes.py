"""Architectures with parts, split levels and trained starts, as they are named on the command line."""

import inspect
import json
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest

from polytask import sharing
from polytask._plain import plain, rebuilt
from polytask.cli.catalogues import ARCHITECTURES, BACKBONES, PARTS, RECIPES, Architecture
from polytask.cli.saved import SavedRun
from polytask.study import Arm

from .conftest import DIGITS, SMALL

Run = Callable[..., tuple[int, str, str]]

SAID = {
    "HardSharing": sharing.HardSharing,
    "HardSharing(decoder=FPN(64))": {"decoder": sharing.FPN(64)},
    "HardSharing(decoder=DeepLab(rates=(1, 2)))": {"decoder": sharing.DeepLab(rates=(1, 2))},
    "HardSharing(decoder='LastMap')": {"decoder": sharing.LastMap()},
    "PADNet(distillation=MessagePassing(), channels=8)": {"distillation": sharing.MessagePassing(), "channels": 8},
    "Conditioned(FiLM((1,)), LearnedDescriptors(4))": {
        "by": sharing.FiLM((1,)),
        "descriptors": sharing.LearnedDescriptors(4),
    },
    "Conditioned(descriptors={'left': [1.0, 0.0], 'right': [0.0, 1.0]})": {
        "descriptors": {"left": [1.0, 0.0], "right": [0.0, 1.0]}
    },
    "Adapters(by=LoRA(rank=2))": {"by": sharing.LoRA(rank=2)},
    "ASTMT(discriminator=GradientDiscriminator(8), norms=False)": {
        "discriminator": sharing.GradientDiscriminator(8),
        "norms": False,
    },
    "ASTMT(discriminator=None)": {"discriminator": None},
    "SoftSharing(distance='trace', stages=(0, 1))": {"distance": "trace", "stages": [0, 1]},
}


def settings(made: Any) -> Any:
    return getattr(made, "keywords", made)


@pytest.mark.parametrize("said", SAID)
def test_parts_are_made_as_they_are_said(said: str) -> None:
    made = ARCHITECTURES.later(said)
    assert settings(made) == SAID[said]
    again = ARCHITECTURES.later(str(Architecture(made)))
    assert settings(again) == settings(made), "its name in tables can be typed"


@pytest.mark.parametrize("said", SAID)
def test_parts_are_rebuilt_from_what_was_written_down(said: str) -> None:
    made = ARCHITECTURES.later(said)
    told = json.loads(json.dumps(Arm(made).described))["sharing"]
    found = {
        name: list(each) if isinstance(each, tuple) else each for name, each in rebuilt(told["args"], RECIPES).items()
    }
    assert found == (made.keywords if hasattr(made, "keywords") else {})


def test_yaml_says_the_same() -> None:
    said = {"class_path": "HardSharing", "init_args": {"decoder": {"class_path": "FPN", "init_args": {"channels": 8}}}}
    assert ARCHITECTURES.later(said).keywords == {"decoder": sharing.FPN(8)}


def test_every_part_that_an_architecture_can_have_is_in_a_catalogue() -> None:
    def of_ours(hint: Any) -> set[type]:
        inside = set().union(*(of_ours(each) for each in get_args(hint)))
        ours = inspect.isclass(hint) and hint.__module__.startswith("polytask.sharing")
        return inside | ({hint} if ours else set())

    named = {
        kind
        for member in ARCHITECTURES.members
        for name, hint in get_type_hints(member.__init__).items()
        if name in ARCHITECTURES.settings(member)
        for kind in of_ours(hint)
    }
    assert named == set(PARTS)
    assert all(is_dataclass(each) for each in RECIPES)


def test_what_no_command_line_can_say_is_not_offered() -> None:
    assert "blocks" not in ARCHITECTURES.settings(sharing.ASTMT)
    assert sharing.OutputsOf not in BACKBONES.members
    assert not {sharing.FPN, sharing.MessagePassing, sharing.GradientDiscriminator} & set(BACKBONES.members)


MISTAKES = {
    "HardSharing(decoder=FPM())": "there is no decoder 'FPM'; did you mean 'FPN'",
    "HardSharing(decoder=FPN(chanels=3))": "did you mean 'channels'",
    "HardSharing(decoder=FPN(0))": "at least one channel",
    "HardSharing(decoder=MessagePassing())": "there is no decoder 'MessagePassing'",
    "HardSharing(decoder=3)": "decoder of HardSharing: expected a Decoder or null, got 3",
    "HardSharing(decoder=FPN)": "can't read FPN",
    "ASTMT(blocks='os.system')": "can be given from Python only",
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_in_a_part_is_one_line_that_helps(run: Run, said: str) -> None:
    code, _, err = run("compare", DIGITS, "--sharing", said)
    assert code == 2 and len(err.splitlines()) == 1
    assert MISTAKES[said] in err


def test_options_of_a_library_are_handed_on() -> None:
    made = BACKBONES.make("Transformers('resnet', depths=[1, 1], num_channels=1)")
    assert made == sharing.Transformers("resnet", depths=[1, 1], num_channels=1)


@pytest.mark.parametrize("said", ["SoftSharing(distance='l1')", "Conditioned(by=FiLM())"])
def test_a_run_with_parts_is_opened_again(run: Run, tmp_path: Path, said: str) -> None:
    assert run("train", DIGITS, *SMALL, "--sharing", said, "--out", tmp_path / "run")[0] == 0
    saved = SavedRun.open(tmp_path / "run")
    assert plain(saved.arm.sharing) == plain(ARCHITECTURES.later(said))
    code, out, _ = run("evaluate", tmp_path / "run")
    assert code == 0 and said in " ".join(out.split())


# --- split levels, and trained starts --------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, studies: ModuleType) -> list[list[Arm]]:
    """The arms that `compare` would train."""
    found: list[list[Arm]] = []

    def note(problem: Any, arms: list[Arm], *args: Any, **more: Any) -> None:
        found.append(list(arms))
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "run_study", note)
    return found


@pytest.fixture
def studies() -> ModuleType:
    from polytask.cli.commands import studies as module

    return module


def test_split_levels_come_on_top(run: Run, asked: list[list[Arm]]) -> None:
    run("compare", DIGITS, "--balancers", "PCGrad", "--split_levels")
    assert [arm.name for arm in asked[0]] == [
        "HardSharing + PCGrad",
        *(f"HardSharing(shared_stages={s}) + Equal" for s in range(3)),
        "HardSharing + Equal",
    ]


def test_from_single_task_goes_to_whom_it_can(run: Run, asked: list[list[Arm]]) -> None:
    run("compare", DIGITS, "--balancers", "Equal", "--sharing", "HardSharing", "NDDR", "--from-single-task")
    assert [arm.name for arm in asked[0]] == ["HardSharing + Equal", "NDDR + Equal, from single-task"]
    code, _, err = run("compare", DIGITS, "--balancers", "Equal", "--sharing", "MTAN", "--from_single_task")
    assert code == 2 and "--from-single-task is for architectures with a network per task" in err


def test_train_starts_from_runs(run: Run, study: Path, tmp_path: Path) -> None:
    records = [json.loads(line) for line in (study / "records.jsonl").read_text().splitlines()]
    alone = [study / "runs" / each["key"] for each in records if each["baseline"] and each["seed"] == 1]
    words = ["train", DIGITS, *SMALL, "--sharing", "CrossStitch", "--out", tmp_path / "run"]
    code, out, err = run(*words, "--start", *alone)
    assert (code, err) == (0, "") and "CrossStitch + Equal, from single-task" in " ".join(out.split())
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert {each["key"] for each in records if each["key"] in record["start"]["runs"].values()} == {
        path.name for path in alone
    }
    assert SavedRun.open(tmp_path / "run").arm.from_single_task

    other = [study / "runs" / each["key"] for each in records if each["baseline"] and each["seed"] == 0]
    code, _, err = run(*words, "--start", *other)
    assert code == 2 and "holds another run" in err and "starts" in err
    for some, told in (
        ([*alone, other[0]], "both trained"),
        ([tmp_path], "not the folder of a run"),
        ([alone[0], study / "runs" / records[-1]["key"]], "trained 2 tasks"),
    ):
        code, _, err = run(*words[:-1], tmp_path / "second", "--start", *some)
        assert code == 2 and told in err, err
    assert not (tmp_path / "second").exists()
    code, _, err = run(*words[:-4], "--start", *alone, "--out", tmp_path / "second")
    assert code == 2 and "no whole network per task" in err

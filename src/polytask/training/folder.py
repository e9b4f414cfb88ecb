"""The folder of a run: what it holds, and how it is written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polytask.errors import PolytaskError
from polytask.training.checkpoint import load_tree, save_tree, write_whole

ABOUT = """# A run of polytask

| file | what it is |
| --- | --- |
| `run.json` | what was asked for: tasks, model, balancer, budget, seed, data checksums, versions |
| `epochs.jsonl` | one line per epoch: losses, weights, validation scores, gradient conflict, time |
| `checkpoint.safetensors` | the state after the last saved step; the same command goes on from it |
| `model.safetensors` | the weights of the best epoch on validation data |
| `job.json` | the problem and the arm, where the run belongs to a study or was started by a command |
| `inputs.json` | what one sample of the network's inputs looks like: types and shapes |
| `preprocessing.json` | what was learned about the columns of a table: turns new rows into inputs |
| `tracking/` | what a tracker such as TensorBoard wrote |
| `record.json` | the results, written when the run is over |

No file of a run holds code, and loading one runs none.
"""


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the files of one run."""

    path: Path

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write down what was asked for; a folder that was begun with other settings is refused.

        Raises:
            PolytaskError: naming what differs.
        """
        asked = self.path / "run.json"
        settings = json.loads(json.dumps(settings))  # tuples are lists there
        if asked.is_file():
            before = self.settings()
            other = sorted(
                k for k in before.keys() | settings.keys() if k != "versions" and before.get(k) != settings.get(k)
            )
            if other:
                shown = "; ".join(
                    f"{k}: {_short(before.get(k))} there, {_short(settings.get(k))} now" for k in other[:3]
                )
                raise PolytaskError(
                    f"{self.path} holds a run with other settings ({shown}); give another folder, or delete this one"
                )
            return
        write_whole(asked, json.dumps(settings, indent=1, ensure_ascii=False).encode())
        write_whole(self.path / "README.md", ABOUT.encode())

    def settings(self) -> dict[str, Any]:
        """What was asked for."""
        return read_json(self.path / "run.json")

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.path / "checkpoint.safetensors").is_file()

    def save(self, state: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> None:
        """Save the whole state, and the lines of the epochs so far."""
        write_whole(self.path / "epochs.jsonl", "".join(json.dumps(each) + "\n" for each in epochs).encode())
        save_tree(state, self.path / "checkpoint.safetensors")

    def load(self) -> dict[str, Any]:
        """The whole state."""
        return dict(load_tree(self.path / "checkpoint.safetensors"))

    def save_best(self, state: Mapping[str, Any]) -> None:
        """Save the weights of the best epoch so far."""
        save_tree(state, self.path / "model.safetensors")

    def load_best(self) -> dict[str, Any]:
        """The weights of the best epoch."""
        return dict(load_tree(self.path / "model.safetensors"))


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        PolytaskError: when it is missing or not whole.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PolytaskError(
            f"there is no {path.name} in {path.parent}: it is not the folder of a run of polytask"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PolytaskError(f"{path} is not whole JSON ({error}); delete the folder to begin anew") from None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else text[:77] + "..."

"""Networks written elsewhere as backbones, whatever their code is."""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing.backbone import Backbone, parts_without
from polytask.sharing.backbones import _observe, _replay, _walk


class LibraryBackbone(Backbone):
    """A network of another library that gives the features of its stages; made by `Transformers`, `Timm` and others.

    It is cut and walked by running it in parts: what ran already is not run again but gives what it gave.

    Args:
        net: the network.
        shape: (channels, h, w) of an image that it can read: one is shown to it to see its stages.
        features: runs it: (net, images) -> the features of all stages.
        listed: its stages are the modules of a list. Else a stage ends where the last module that all features from
            its own on depend on is done.
        seen: names of modules that have to be called whenever the network runs, since `features` looks at them.
    """

    def __init__(
        self,
        net: nn.Module,
        shape: tuple[int, int, int],
        features: Callable[[nn.Module, Tensor], list[Tensor]],
        listed: bool = False,
        seen: Sequence[str] = (),
    ) -> None:
        net.train()
        self._features = features
        example = torch.linspace(-1, 1, shape[0] * shape[1] * shape[2]).view(1, *shape)
        calls, found = _observe.observe(net, lambda: features(net, example))
        # The widths that come out: what a family declares can differ (FocalNet halves before the feature).
        super().__init__([each.shape[1] if each.ndim == 4 else each.shape[-1] for each in found])
        self.net = net
        self.shape = shape
        self._calls = calls
        self._seen = tuple(seen)
        self._names = _observe.stage_names(net, len(self.widths), calls) if listed else None
        self._unused: dict[tuple[int, ...], set[str]] = {}
        self._exits: tuple[_walk.Exit, ...] | None = None
        _observe.freeze_unused(net, found)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return self._features(self.net, self._images(inputs))

    @property
    def walk_widths(self) -> tuple[int, ...]:
        return tuple(each.width for each in self._where_to_stop())

    def walk(self, inputs: Tensor) -> Generator[Tensor, Tensor, list[Tensor]]:
        return _walk.walk(self.net, self._where_to_stop(), self._images(inputs), self._features)

    def keep_only(self, stages: Iterable[int]) -> None:
        super().keep_only(stages)
        _, features = _observe.observe(self.net, lambda: self._features(self.net, self._example()))
        _observe.freeze_unused(self.net, [features[stage] for stage in self.kept])

    def used_for(self, stages: Iterable[int]) -> list[nn.Module]:
        read = tuple(stages)
        if read not in self._unused:
            _, features = _observe.observe(self.net, lambda: self._features(self.net, self._example()))
            self._unused[read] = _observe.unused(self.net, [features[stage] for stage in read])
        left_out = {id(each) for name, each in self.net.named_parameters() if name in self._unused[read]}
        return list(parts_without(self, left_out))

    def split_inside(self, stage: int) -> tuple[nn.Module, nn.Module]:
        try:
            at = self._names[stage] if self._names else _observe.next_started(self._calls, self._exit(stage - 1))
            return _replay.split(self.net, at, self._calls, self._example(), self.kept, self._features, seen=self._seen)
        except Exception as error:
            raise PolytaskError(
                f"{type(self.net).__name__} cannot be cut after stage {stage} ({error}); "
                f"share 0 or {len(self.widths)} stages, or use another network"
            ) from error

    def _exit(self, stage: int) -> str:
        return self._where_to_stop()[stage].at

    def _where_to_stop(self) -> tuple[_walk.Exit, ...]:
        """Where each stage is left; looked for once."""
        if self._exits is None:
            try:
                self._exits = _walk.exits(
                    self.net, len(self.widths), self._names, self._example(), self._features, seen=self._seen
                )
            except Exception as error:
                raise PolytaskError(
                    f"{type(self.net).__name__} can't stop between its stages, as this architecture asks ({error}); "
                    "use another network, or an architecture that reads the features only"
                ) from error
        return self._exits

    def _images(self, inputs: Any) -> Tensor:
        if not isinstance(inputs, Tensor) or inputs.ndim != 4 or inputs.shape[1] != self.shape[0]:
            came = list(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
            raise PolytaskError(f"expected images of shape [b, {self.shape[0]}, h, w], got {came}")
        return inputs

    def _example(self) -> Tensor:
        count = self.shape[0] * self.shape[1] * self.shape[2]
        return torch.linspace(-1, 1, count).view(1, *self.shape).to(next(self.net.parameters()))


def as_tuples(value: Any) -> Any:
    """Settings with tuples in place of lists, as they are after a round trip through JSON."""
    return tuple(as_tuples(each) for each in value) if isinstance(value, list | tuple) else value

"""Any vision backbone of the transformers library, made from a configuration; nothing is downloaded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing.backbone import Backbone
from polytask.sharing.backbones import _replay


@dataclass(frozen=True, init=False)
class Transformers:
    """A backbone of the transformers library by its configuration, with the features of all its stages.

    Args:
        family: the model type, for example "resnet", "convnext", "swin", "dinov2", "hiera", "bit".
        options: the arguments of the family's configuration, as keywords or as one dict: `depths`,
            `hidden_sizes`, `image_size`, `num_channels`, ... (see the family's page in the transformers
            documentation).

    Called, it makes a fresh backbone with weights from torch's global generator. Needs
    `polytask[transformers]`. Parameters that feed no stage's feature (mask tokens, norms of unused outputs)
    are made constants, so that whatever is trainable gets a gradient.

    Raises:
        PolytaskError: when called: transformers is not installed, or it cannot build such a backbone.

    >>> resnet = Transformers("resnet", num_channels=1, embedding_size=4, hidden_sizes=(4, 8), depths=(1, 1))
    >>> import torch
    >>> [tuple(each.shape) for each in resnet()(torch.zeros(2, 1, 32, 32))]
    [(2, 4, 8, 8), (2, 8, 4, 4)]
    """

    family: str
    options: Mapping[str, Any] = field(hash=False)

    def __init__(self, family: str, options: Mapping[str, Any] | None = None, **more: Any) -> None:
        object.__setattr__(self, "family", family)
        together = {**(options or {}), **more}
        object.__setattr__(self, "options", {name: _as_tuples(value) for name, value in together.items()})

    def __call__(self) -> "TransformersBackbone":
        try:
            from transformers import AutoBackbone
        except ImportError as error:
            raise PolytaskError(
                f"{self.family} needs the transformers library: pip install 'polytask[transformers]'"
            ) from error
        config = self._config()
        try:
            net = AutoBackbone.from_config(config)
        except Exception as error:
            raise self._refusal(error) from error
        # Where a configuration does not name an image size, any image will do for the first look at the
        # stages.
        size = getattr(config, "image_size", None) or 64
        height, width = size if isinstance(size, list) else (size, size)
        try:
            return TransformersBackbone(net, (getattr(config, "num_channels", 3), height, width))
        except PolytaskError:
            raise
        except Exception as error:
            raise self._refusal(error) from error

    def _config(self) -> Any:
        from transformers import AutoConfig
        from transformers.models.auto import modeling_auto

        families = modeling_auto.MODEL_FOR_BACKBONE_MAPPING_NAMES
        if self.family not in families:
            raise PolytaskError(f"unknown transformers backbone '{self.family}'; {did_you_mean(self.family, families)}")
        try:
            default = AutoConfig.for_model(self.family)
            config = AutoConfig.for_model(self.family, **{k: _as_lists(v) for k, v in self.options.items()})
        except Exception as error:
            raise self._refusal(error) from error
        for unknown in [name for name in self.options if not hasattr(default, name)]:
            allowed = [name for name in vars(default) if not name.startswith("_")]
            raise PolytaskError(f"{self.family} has no option '{unknown}'; {did_you_mean(unknown, allowed)}")
        # Some families join their sizes to lists, which fails with the tuples that their own defaults are.
        for name, value in vars(config).items():
            if isinstance(value, tuple):
                setattr(config, name, list(value))
        stages = [name for name in getattr(config, "stage_names", []) if name != "stem"]
        if not stages:
            raise PolytaskError(f"{self.family} does not name its stages, so it cannot be a backbone here")
        config.out_features = stages
        return config

    def _refusal(self, error: Exception) -> PolytaskError:
        return PolytaskError(
            f"transformers cannot build {self.family} with {dict(self.options)}: "
            f"{type(error).__name__}: {error}; see the family's page in the transformers documentation"
        )


class TransformersBackbone(Backbone):
    """A transformers backbone whose every stage's feature is asked for; `Transformers` makes one.

    Args:
        net: from `AutoBackbone`, with all stages among its `out_features`.
        shape: (channels, h, w) of an image that it can read.
    """

    def __init__(self, net: nn.Module, shape: tuple[int, int, int]) -> None:
        net.train()
        example = torch.linspace(-1, 1, shape[0] * shape[1] * shape[2]).view(1, *shape)
        calls, features = _replay.observe(net, lambda: _features(net, example))
        # The widths that come out: what a family declares can differ (FocalNet halves before the feature).
        super().__init__([each.shape[1] if each.ndim == 4 else each.shape[-1] for each in features])
        self.net = net
        self.shape = shape
        self._calls = calls
        _replay.freeze_unused(net, features)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        if inputs.ndim != 4 or inputs.shape[1] != self.shape[0]:
            raise PolytaskError(f"expected images of shape [b, {self.shape[0]}, h, w], got {list(inputs.shape)}")
        return _features(self.net, inputs)

    def keep_only(self, stages: Iterable[int]) -> None:
        super().keep_only(stages)
        _, features = _replay.observe(self.net, lambda: _features(self.net, self._example()))
        _replay.freeze_unused(self.net, [features[stage] for stage in self.kept])

    def split_inside(self, stage: int) -> tuple[nn.Module, nn.Module]:
        names = _replay.stage_names(self.net, len(self.widths), self._calls)
        if names is None:
            return super().split_inside(stage)
        try:
            return _replay.split(self.net, names[stage], self._calls, self._example(), self.kept, _features)
        except Exception as error:
            raise PolytaskError(
                f"{type(self.net).__name__} cannot be cut after stage {stage} ({error}); "
                f"share 0 or {len(self.widths)} stages, or use another family"
            ) from error

    def _example(self) -> Tensor:
        count = self.shape[0] * self.shape[1] * self.shape[2]
        return torch.linspace(-1, 1, count).view(1, *self.shape).to(next(self.net.parameters()).device)


def _features(net: nn.Module, inputs: Tensor) -> list[Tensor]:
    return list(net(inputs).feature_maps)


def _as_lists(value: Any) -> Any:
    return [_as_lists(each) for each in value] if isinstance(value, tuple) else value


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(each) for each in value) if isinstance(value, list | tuple) else value

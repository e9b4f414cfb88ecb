"""Any vision backbone of the transformers library: from a configuration, or with trained weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing.backbones.library import LibraryBackbone, as_tuples


@dataclass(frozen=True, init=False)
class Transformers:
    """A backbone of the transformers library by its configuration, with the features of all its stages.

    Args:
        family: the model type, for example "resnet", "convnext", "swin", "dinov2", "hiera", "bit", "segformer".
        options: the arguments of the family's configuration, as keywords or as one dict: `depths`,
            `hidden_sizes`, `image_size`, `num_channels`, ... (see the family's page in the transformers
            documentation).
        pretrained: where trained weights and their configuration are: a folder, or a name on the model hub, such as
            "microsoft/resnet-50" (downloaded by transformers, once). `options` change that configuration. When left
            out, nothing is downloaded.

    Called, it makes a fresh backbone with weights from torch's global generator, or the trained ones. Needs
    `polytask[transformers]`. Parameters that feed no stage's feature (mask tokens, norms of unused outputs)
    are made constants, so that whatever is trainable gets a gradient.

    Families that transformers does not have as backbones work where the model's hidden states are maps [b, c, h, w],
    as those of "segformer" are.

    Raises:
        PolytaskError: when called: transformers is not installed, or it cannot build such a backbone, or there are no
            such weights.

    >>> resnet = Transformers("resnet", num_channels=1, embedding_size=4, hidden_sizes=(4, 8), depths=(1, 1))
    >>> import torch
    >>> [tuple(each.shape) for each in resnet()(torch.zeros(2, 1, 32, 32))]
    [(2, 4, 8, 8), (2, 8, 4, 4)]
    """

    family: str
    options: Mapping[str, Any] = field(hash=False)
    pretrained: str | None = None

    def __init__(
        self, family: str, options: Mapping[str, Any] | None = None, pretrained: str | None = None, **more: Any
    ) -> None:
        object.__setattr__(self, "family", family)
        together = {**(options or {}), **more}
        object.__setattr__(self, "options", {name: as_tuples(value) for name, value in together.items()})
        object.__setattr__(self, "pretrained", pretrained)

    def __call__(self) -> LibraryBackbone:
        try:
            from transformers import AutoConfig
        except ImportError as error:
            raise PolytaskError(
                f"{self.family} needs the transformers library: pip install 'polytask[transformers]'"
            ) from error
        config = self._config(AutoConfig)
        try:
            net, features = self._net(config)
        except Exception as error:
            raise self._refusal(error) from error
        # Where a configuration does not name an image size, any image will do for the first look at the
        # stages.
        size = getattr(config, "image_size", None) or 64
        height, width = size if isinstance(size, list) else (size, size)
        try:
            return LibraryBackbone(net, (getattr(config, "num_channels", 3), height, width), features, listed=True)
        except PolytaskError:
            raise
        except Exception as error:
            raise self._refusal(error) from error

    def _config(self, auto: Any) -> Any:
        """The family's configuration with these options."""
        from transformers.models.auto import modeling_auto

        if self.family not in modeling_auto.MODEL_MAPPING_NAMES:
            families = modeling_auto.MODEL_FOR_BACKBONE_MAPPING_NAMES
            raise PolytaskError(f"unknown transformers backbone '{self.family}'; {did_you_mean(self.family, families)}")
        options = {name: _as_lists(value) for name, value in self.options.items()}
        try:
            default = auto.for_model(self.family)
            config = auto.from_pretrained(self.pretrained, **options) if self.pretrained else default
            if not self.pretrained:
                config = auto.for_model(self.family, **options)
        except Exception as error:
            raise self._refusal(error) from error
        if config.model_type != self.family:
            raise PolytaskError(f"{self.pretrained} holds a {config.model_type}, not a {self.family}")
        for unknown in [name for name in self.options if not hasattr(default, name)]:
            allowed = [name for name in vars(default) if not name.startswith("_")]
            raise PolytaskError(f"{self.family} has no option '{unknown}'; {did_you_mean(unknown, allowed)}")
        # Some families join their sizes to lists, which fails with the tuples that their own defaults are.
        for name, value in vars(config).items():
            if isinstance(value, tuple):
                setattr(config, name, list(value))
        return config

    def _net(self, config: Any) -> tuple[nn.Module, Callable[[nn.Module, Tensor], list[Tensor]]]:
        """The network, and how its features are had."""
        from transformers import AutoBackbone, AutoModel
        from transformers.models.auto import modeling_auto

        auto: Any = AutoModel
        kinds: Any = modeling_auto.MODEL_MAPPING
        features = _hidden_maps
        if self.family in modeling_auto.MODEL_FOR_BACKBONE_MAPPING_NAMES:
            auto, kinds, features = AutoBackbone, modeling_auto.MODEL_FOR_BACKBONE_MAPPING, _feature_maps
            config.out_features = [name for name in config.stage_names if name != "stem"]
        if self.pretrained:  # AutoBackbone itself does not read folders
            return kinds[type(config)].from_pretrained(self.pretrained, config=config), features
        return auto.from_config(config), features

    def _refusal(self, error: Exception) -> PolytaskError:
        told = f"{type(error).__name__}: {error}"
        if self.pretrained:
            return PolytaskError(
                f"transformers cannot build {self.family} with the weights '{self.pretrained}' and "
                f"{dict(self.options)} ({told}); give a folder that save_pretrained wrote, or a name on the model hub, "
                "which needs a network"
            )
        return PolytaskError(
            f"transformers cannot build {self.family} with {dict(self.options)}: {told}; see the family's page in the "
            "transformers documentation"
        )


def _feature_maps(net: nn.Module, images: Tensor) -> list[Tensor]:
    return list(net(images).feature_maps)


def _hidden_maps(net: nn.Module, images: Tensor) -> list[Tensor]:
    maps = [each for each in net(images, output_hidden_states=True).hidden_states if each.ndim == 4]
    if not maps:
        raise PolytaskError(f"{type(net).__name__} gives no features of its stages, so it cannot be a backbone here")
    return maps


def _as_lists(value: Any) -> Any:
    return [_as_lists(each) for each in value] if isinstance(value, tuple) else value

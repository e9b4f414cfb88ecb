"""Networks of timm, of torchvision, and of anyone."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing.backbones._replay import stopping
from polytask.sharing.backbones.library import LibraryBackbone, as_tuples


@dataclass(frozen=True)
class OutputsOf:
    """Any network as a backbone: name the modules whose outputs are the features of its stages.

    Args:
        make: makes a fresh network at each call; it reads images [b, c, h, w].
        outputs: names of modules of it, in the order in which they run; each gives one tensor, a map [b, c, h, w] or
            tokens [b, n, c]. What comes after the last one is left out.
        shape: (c, h, w) of an image that it can read. Other heights and widths will do if the network takes them.

    Called, it makes a fresh backbone. It can be shared in part and walked wherever all that goes up from a stage goes
    through one tensor.

    Raises:
        PolytaskError: when called: there is no such module, or it does not run, or not in this order.

    >>> import torch
    >>> from torch import nn
    >>> def make():
    ...     return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.Flatten())
    >>> backbone = OutputsOf(make, ("1", "2"))()
    >>> [tuple(each.shape) for each in backbone(torch.zeros(2, 3, 33, 33))]
    [(2, 8, 16, 16), (2, 16, 14, 14)]
    """

    make: Callable[[], nn.Module]
    outputs: tuple[str, ...]
    shape: tuple[int, int, int] = (3, 64, 64)

    def __call__(self) -> LibraryBackbone:
        return of_outputs(self.make(), tuple(self.outputs), self.shape)


@dataclass(frozen=True, init=False)
class Torchvision:
    """A network of torchvision, without its classifier.

    Args:
        name: of the model, for example "resnet18", "convnext_tiny", "efficientnet_b0".
        outputs: names of the modules whose outputs are the features of the stages, as in `OutputsOf`. The default is
            that of ResNets.
        options: arguments of the model, as keywords or as one dict, for example `weights="DEFAULT"`.

    Called, it makes a fresh backbone for images [b, 3, h, w]. Needs torchvision.
    """

    name: str
    outputs: tuple[str, ...]
    options: Mapping[str, Any] = field(hash=False)

    def __init__(
        self,
        name: str,
        outputs: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4"),
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        together = {**(options or {}), **more}
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "outputs", tuple(outputs))
        object.__setattr__(self, "options", {name: as_tuples(each) for name, each in together.items()})

    def __call__(self) -> LibraryBackbone:
        models = imported("torchvision").models
        try:
            net = models.get_model(self.name, **self.options)
        except Exception as error:
            raise _refusal("torchvision", self.name, self.options, error) from error
        return of_outputs(net, self.outputs, (3, 64, 64))


@dataclass(frozen=True, init=False)
class Timm:
    """A network of timm that gives the features of its stages (`features_only=True`).

    Args:
        name: of the model, for example "resnet50", "convnext_tiny", "swin_tiny_patch4_window7_224".
        channels: of the images [b, channels, h, w].
        size: height and width of images that it can read; many read others as well.
        options: arguments of the model, as keywords or as one dict, such as `pretrained=True`, `out_indices=(1, 2)`.

    Called, it makes a fresh backbone. Needs timm (and torchvision, which timm imports).
    """

    name: str
    channels: int
    size: int
    options: Mapping[str, Any] = field(hash=False)

    def __init__(
        self, name: str, channels: int = 3, size: int = 224, options: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        together = {**(options or {}), **more}
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "options", {name: as_tuples(each) for name, each in together.items()})

    def __call__(self) -> LibraryBackbone:
        timm = imported("timm")
        try:
            net = timm.create_model(self.name, features_only=True, in_chans=self.channels, **self.options)
        except Exception as error:
            raise _refusal("timm", self.name, self.options, error) from error
        return LibraryBackbone(net, (self.channels, self.size, self.size), _maps_of_timm)


def imported(library: str) -> Any:
    """The library, or an error that says how to install it."""
    try:
        return importlib.import_module(library)
    except Exception as error:  # a torchvision that was built for another torch fails with all sorts of errors
        raise PolytaskError(
            f"this backbone needs {library}: pip install {library} (made for the torch that is installed); importing "
            f"it gave {type(error).__name__}: {error}"
        ) from error


def of_outputs(net: nn.Module, outputs: tuple[str, ...], shape: tuple[int, int, int]) -> LibraryBackbone:
    """A network as a backbone whose features are the outputs of these modules."""
    names = [name for name, _ in net.named_modules() if name]
    for unknown in [name for name in outputs if name not in names]:
        children = ", ".join(name for name, _ in net.named_children())
        raise PolytaskError(f"{type(net).__name__} has no module '{unknown}'; its outermost are {children}")
    if not outputs:
        raise PolytaskError("name at least one module whose output is a feature, as in outputs=('layer4',)")
    return LibraryBackbone(net, shape, _Outputs(outputs), seen=outputs)


class _Finished(Exception):
    pass


@dataclass(frozen=True)
class _Outputs:
    """Runs a network up to the last of the modules named, and gives what each of them gave."""

    names: tuple[str, ...]

    def __call__(self, net: nn.Module, images: Tensor) -> list[Tensor]:
        gave: dict[str, Tensor] = {}

        def note(name: str, output: Any) -> None:
            gave[name] = output
            if name == self.names[-1]:
                raise _Finished

        handles = [
            net.get_submodule(name).register_forward_hook(lambda module, args, output, name=name: note(name, output))
            for name in self.names
        ]
        try:
            with stopping(_Finished):
                net(images)
        finally:
            for handle in handles:
                handle.remove()
        if tuple(gave) != self.names or not all(isinstance(each, Tensor) for each in gave.values()):
            ran = ", ".join(f"{name} ({type(each).__name__})" for name, each in gave.items())
            raise PolytaskError(
                f"expected the modules {', '.join(self.names)} to run once each in this order, and to give one tensor "
                f"each; these ran: {ran or 'none'}"
            )
        return list(gave.values())


def _maps_of_timm(net: Any, images: Tensor) -> list[Tensor]:
    """Some of timm's networks give maps [b, h, w, c]."""
    channels = net.feature_info.channels()
    return [
        each if each.ndim != 4 or each.shape[1] == width else each.movedim(-1, 1)
        for each, width in zip(net(images), channels, strict=True)
    ]


def _refusal(library: str, name: str, options: Mapping[str, Any], error: Exception) -> PolytaskError:
    return PolytaskError(f"{library} cannot build {name} with {dict(options)}: {type(error).__name__}: {error}")

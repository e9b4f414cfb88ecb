"""Texts as vectors, by any text model of the transformers library."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing.backbones import _observe
from polytask.sharing.backbones.inputs import PartInput
from polytask.sharing.backbones.library import as_tuples
from polytask.sharing.backbones.words import check_words


@dataclass(frozen=True, init=False)
class Language:
    """A text as the mean of the last hidden states of a transformer, over the words that are there.

    Args:
        family: the model type, for example "bert", "distilbert", "roberta", "modernbert".
        options: the arguments of the family's configuration, as keywords or as one dict: `hidden_size`,
            `num_hidden_layers`, `num_attention_heads`, ...
        pretrained: where trained weights are: a folder that `save_pretrained` wrote, or a name on the model hub. The
            texts must then be read with its tokenizer (`{kind: text, tokenizer: ...}` in the table's YAML file).
        vocabulary: how many different numbers the input has, 0 (nothing) included; 0: as many as the data have.

    Called, it makes a fresh module for word numbers [b, n], which gives [b, hidden size]; number i is token i - 1 of
    the model. Needs `polytask[transformers]`. Parameters that do not take part (poolers) are made constants.

    Raises:
        PolytaskError: when called: transformers is not installed, or it cannot build such a model.

    >>> small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    >>> Language("bert", small, vocabulary=30)()(torch.tensor([[3, 4, 0], [0, 0, 0]])).shape
    torch.Size([2, 8])
    """

    family: str
    options: Mapping[str, Any] = field(hash=False)
    pretrained: str | None
    vocabulary: int

    def __init__(
        self,
        family: str,
        options: Mapping[str, Any] | None = None,
        pretrained: str | None = None,
        vocabulary: int = 0,
        **more: Any,
    ) -> None:
        object.__setattr__(self, "family", family)
        together = {**(options or {}), **more}
        object.__setattr__(self, "options", {name: as_tuples(value) for name, value in together.items()})
        object.__setattr__(self, "pretrained", pretrained)
        object.__setattr__(self, "vocabulary", vocabulary)

    def suited(self, to: PartInput) -> "Language":
        """The same, for as many words as the input has."""
        return replace(self, vocabulary=self.vocabulary or to.vocabulary)

    def __call__(self) -> "TextModel":
        if not self.vocabulary:
            raise PolytaskError("Language needs to know how many words there are: Language(..., vocabulary=...)")
        try:
            from transformers import AutoConfig, AutoModel
        except ImportError as error:
            raise PolytaskError(f"{self.family} needs transformers: pip install 'polytask[transformers]'") from error
        try:
            config = self._config(AutoConfig)
            net = (
                AutoModel.from_pretrained(self.pretrained, config=config)
                if self.pretrained
                else AutoModel.from_config(config)
            )
            return TextModel(net, self.vocabulary)
        except PolytaskError:
            raise
        except Exception as error:
            raise PolytaskError(
                f"transformers cannot build a text model {self.family} with {dict(self.options)}"
                f"{f' and the weights {self.pretrained}' if self.pretrained else ''}: {type(error).__name__}: {error}"
            ) from error

    def _config(self, auto: Any) -> Any:
        if self.pretrained:
            return auto.from_pretrained(self.pretrained, **self.options)
        from transformers.models.auto import modeling_auto

        families = modeling_auto.MODEL_MAPPING_NAMES
        if self.family not in families:
            raise PolytaskError(f"unknown transformers model '{self.family}'; {did_you_mean(self.family, families)}")
        known = {"vocab_size": self.vocabulary - 1, "pad_token_id": None}
        return auto.for_model(self.family, **known | dict(self.options))


class TextModel(nn.Module):
    """The module that `Language` makes.

    Args:
        net: reads `input_ids` and `attention_mask`, gives `last_hidden_state`.
        vocabulary: how many different numbers the input has.
    """

    def __init__(self, net: nn.Module, vocabulary: int) -> None:
        super().__init__()
        config: Any = net.config
        tokens = getattr(config, "vocab_size", vocabulary - 1)
        if tokens < vocabulary - 1:
            raise PolytaskError(
                f"this {config.model_type} knows {tokens} tokens and the texts have {vocabulary - 1}: read them with "
                "its own tokenizer, or give the model more (vocab_size)"
            )
        self.net, self.vocabulary = net, vocabulary
        self.width = int(config.hidden_size)
        _, found = _observe.observe(self, lambda: [self(torch.ones(1, 4, dtype=torch.int32))])
        _observe.freeze_unused(self, found)

    def forward(self, words: Tensor) -> Tensor:
        check_words(words)
        there = words > 0
        # Attention to nothing at all is not defined: an empty text attends to its first place, which then counts 0.
        seen = torch.cat([there[:, :1] | ~there.any(1, keepdim=True), there[:, 1:]], 1)
        states = self.net(input_ids=(words - 1).clamp(min=0).long(), attention_mask=seen.long()).last_hidden_state
        weight = there[..., None].to(states.dtype)
        return (states * weight).sum(1) / weight.sum(1).clamp(min=1)

"""What admission, sending and settlement need of a request to a model, whatever is asked of the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from re import Pattern
from typing import IO, ClassVar, Self

from chatapi.domain import model_names
from chatapi.domain.limits import Need
from chatapi.errors import InvalidRequest

MARGIN_PER_BODY = 16
"""Tokens by which counting may be short of the truth, for every request: how models frame a prompt is not published."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in pieces, for counting it.

    Args:
        texts: what the model may read, to be tokenised.
        tokens: of it that are known without a vocabulary: framing, and ids of tokens.
        others: the bound, in tokens, of what is no text, which nobody here can measure.
        margin: what is added where the count must be a bound.
    """

    texts: tuple[str, ...]
    tokens: int = 0
    others: int = 0
    margin: int = MARGIN_PER_BODY


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form, which lies on disk: its name and media type as the client said them, and its size in bytes.

    Whoever reads `content` begins at its beginning.
    """

    field: str
    filename: str
    content_type: str
    content: IO[bytes]
    size: int


@dataclass(frozen=True, slots=True)
class ModelRequest(ABC):
    """A checked request.

    Args:
        body: what the client sent: JSON, or the fields of a form.
        model: that it names.
        stream: whether the reply is relayed as it comes.
        include_usage: whether an event that is there for its usage alone is the client's.
        choices: over how many the completion is divided evenly.
        cap: the client's cap on the completion, in tokens per choice.
        files: of a form.
        thinks: whether the model is known to think in tokens that are never shown, or not to; None: told by its name.
    """

    body: Mapping[str, object]
    model: str
    stream: bool = False
    include_usage: bool = False
    choices: int = 1
    cap: int | None = None
    files: tuple[Upload, ...] = ()
    thinks: bool | None = None

    form: ClassVar[str]
    """How upstreams are asked and their replies read: a name in the table of `upstream.forms`."""

    @abstractmethod
    def prompt_bound(self) -> int:
        """No prompt of this request has more tokens.

        Raises:
            InvalidRequest: a part of it has no bound.
        """

    @abstractmethod
    def prompt(self) -> Prompt:
        """The prompt, for counting it."""

    def completion_bound(self, default_cap: int) -> tuple[int, int]:
        """The most tokens that the reply may have, all choices together; and the least that it is worth asking for.

        Args:
            default_cap: tokens per choice, where the client asked for no cap.
        """
        return 0, 0

    @property
    def model_reasons(self) -> bool:
        """Whether the model may think in tokens that are never shown."""
        return model_names.reasons(self.model) if self.thinks is None else self.thinks

    def of_model(self, model: str, *, thinks: bool | None, largest_cap: int | None) -> Self:
        """The same request for the model that its name stands for.

        Raises:
            InvalidRequest: it asks for a longer completion than the model can give, in OpenAI's words.
        """
        if largest_cap is not None and self.cap is not None and self.cap > largest_cap:
            problem = (
                f"max_tokens is too large: {self.cap}. This model supports at most {largest_cap} completion tokens, "
                f"whereas you provided {self.cap}."
            )
            raise InvalidRequest(problem, param="max_tokens", code="invalid_value")
        return self if self.model == model and thinks is None else replace(self, model=model, thinks=thinks)

    @property
    def countable(self) -> bool:
        """Whether the tokens of a reply can be counted from what was relayed of it. What cannot, and is not reported,
        is charged at its hold."""
        return True

    @property
    def units(self) -> int:
        """How many units, other than tokens, are asked for (images, characters), or at most sent (seconds); else 0."""
        return 0

    def at(self, kind: str, model: str) -> ModelRequest:
        """The request as an upstream of this kind is asked it, for the model that its name stands for: what bounds it,
        and whether its reply can be counted, is that model's.

        Raises:
            InvalidRequest: it cannot be asked there.
        """
        return self if model == self.model else replace(self, model=model)

    def upstream_body(self, model: str, completion_per_choice: int | None) -> dict[str, object]:
        """The body to send: the model resolved, the completion capped if a number is given."""
        return dict(self.body) | {"model": model}

    def need(self, default_cap: int, prompt_bound: int | None = None, *, loose: bool = False) -> Need:
        """The upper bound of the call, in tokens.

        Args:
            default_cap: the completion cap per choice, in tokens, where the client asked for none.
            prompt_bound: a tighter bound of the prompt, where one was counted.
            loose: whether the prompt can still be counted.

        Raises:
            InvalidRequest: nothing bounds it.
        """
        wanted, least = self.completion_bound(default_cap)
        return Need(
            prompt_bound=self.prompt_bound() if prompt_bound is None else prompt_bound,
            completion_wanted=wanted,
            completion_least=least,
            choices=self.choices,
            loose=loose,
        )


@dataclass(frozen=True, slots=True)
class UnitRequest(ModelRequest):
    """A request for what older models are paid for by units, such as images, and newer ones by tokens."""

    paid_by_tokens: ClassVar[Pattern[str]]
    """The names of the newer ones."""

    @property
    def by_tokens(self) -> bool:
        """Whether the model is paid by tokens."""
        return bool(self.paid_by_tokens.match(model_names.plain_name(self.model)))

    @property
    def countable(self) -> bool:
        """Not where images or sound are tokens: nobody can count those here."""
        return not self.by_tokens

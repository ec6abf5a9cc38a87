"""Embeddings as a client asks for them. Source: OpenAI's API reference, "Create embeddings"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from chatapi.domain.bounds import CALL_OVERHEAD, bytes_of_fields
from chatapi.domain.fields import model_of
from chatapi.domain.inputs import read_inputs
from chatapi.domain.model_request import ModelRequest, Prompt

INPUT_OVERHEAD = 16  # tokens that models put around each input: its beginning and end, an instruction's frame


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest(ModelRequest):
    """A checked request."""

    form: ClassVar[str] = "/v1/embeddings"

    def prompt_bound(self) -> int:
        """The bytes of the texts, one token for each id, and the bytes of what else the body says."""
        inputs = read_inputs(self.body, "input")
        others = bytes_of_fields({name: value for name, value in self.body.items() if name != "input"})
        return CALL_OVERHEAD + INPUT_OVERHEAD * inputs.number + inputs.bound() + others

    def prompt(self) -> Prompt:
        """The texts; ids are as many tokens as they are."""
        inputs = read_inputs(self.body, "input")
        return Prompt(inputs.texts, inputs.ids)


def parse(body: Mapping[str, object]) -> EmbeddingsRequest:
    """Check what OpenAI would refuse for its shape.

    Raises:
        InvalidRequest: in OpenAI's words, naming the parameter.
    """
    model = model_of(body)
    read_inputs(body, "input")
    return EmbeddingsRequest(body, model)

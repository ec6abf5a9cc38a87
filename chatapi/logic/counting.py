"""Counting: the usage of a call whose upstream did not report it, with the model's vocabulary."""

from __future__ import annotations

from chatapi.domain.usage import Usage, UsageSource
from chatapi.logic.admission import Admitted
from chatapi.upstream import tokens


def counted(admitted: Admitted, produced: str) -> Usage:
    """The usage of a call that sent `admitted`'s prompt and got `produced`, all choices together."""
    model = admitted.grant.call.model
    prompt = tokens.measure_prompt(model, admitted.ask.request.body)
    return Usage(prompt, 0, tokens.count_text(model, produced), 0, UsageSource.COUNTED)

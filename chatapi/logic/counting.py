"""Counting: the usage of a call whose upstream did not report it, with the model's vocabulary."""

from __future__ import annotations

from chatapi.domain.extras import NOTHING_ELSE, Extras
from chatapi.domain.usage import Usage, UsageSource
from chatapi.logic.admission import Admitted
from chatapi.upstream import tokens


def counted(admitted: Admitted, produced: str, extras: Extras = NOTHING_ELSE) -> Usage:
    """The usage of a call that sent `admitted`'s prompt and got `produced`, all choices together.

    Images and audio in the prompt cannot be measured here; they are charged at their bound, for what is unknown is
    never free. `extras` is what the reply says of what else it used.
    """
    model = admitted.grant.call.model
    prompt = tokens.charged_prompt(model, admitted.request.prompt())
    return Usage(prompt, 0, tokens.count_text(model, produced), 0, UsageSource.COUNTED, extras)

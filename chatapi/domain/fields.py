"""Fields of a request's body, checked one by one; what is wrong with one is said in OpenAI's words."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from chatapi.errors import InvalidRequest

LONGEST_MODEL_NAME = 256
FLAGS = {"true": True, "1": True, "false": False, "0": False, "": False}
MOST_DIGITS = 9
KINDS = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    list: "an array",
    dict: "an object",
}


def model_of(body: Mapping[str, object]) -> str:
    """The model that a body names.

    Raises:
        InvalidRequest: there is none, or this cannot be one.
    """
    model = body.get("model")
    if model is None or model == "":
        raise InvalidRequest("you must provide a model parameter")
    if not isinstance(model, str):
        raise wrong_type("model", "a string", model)
    if len(model) > LONGEST_MODEL_NAME or not model.isprintable():
        raise InvalidRequest(
            "Invalid 'model': this cannot be the name of a model.", param="model", code="invalid_value"
        )
    return model


def boolean(body: Mapping[str, object], name: str) -> bool | None:
    """A field that is true, false, or absent.

    Raises:
        InvalidRequest: it is something else.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "a boolean", value)
    return value


def integer(body: Mapping[str, object], name: str, least: int, most: int) -> int | None:
    """A field that is an integer within these bounds, or absent.

    Raises:
        InvalidRequest: it is something else.
    """
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "an integer", value)
    if value < least:
        problem = (
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
        )
        raise InvalidRequest(problem, param=name, code="integer_below_min_value")
    if value > most:
        problem = f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {value} instead."
        raise InvalidRequest(problem, param=name, code="integer_above_max_value")
    return value


def flag(body: Mapping[str, object], name: str) -> bool | None:
    """As `boolean`; in a form, whose fields are texts, `true` and `false`.

    Raises:
        InvalidRequest: it is something else.
    """
    value = body.get(name)
    if isinstance(value, str) and value.lower() in FLAGS:
        return FLAGS[value.lower()]
    return boolean(body, name)


def number(body: Mapping[str, object], name: str, least: int, most: int) -> int | None:
    """As `integer`; in a form, whose fields are texts, its digits.

    Raises:
        InvalidRequest: it is something else.
    """
    value = body.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS:
        return integer({name: int(value)}, name, least, most)
    return integer(body, name, least, most)


def text(body: Mapping[str, object], name: str) -> str:
    """A field that must be there and be a text.

    Raises:
        InvalidRequest: it is not.
    """
    value = body.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def optional_text(body: Mapping[str, object], name: str) -> str | None:
    """A field that is a text, or absent.

    Raises:
        InvalidRequest: it is something else.
    """
    return None if body.get(name) is None else text(body, name)


def include_usage(body: Mapping[str, object]) -> bool:
    """Whether the client of a stream asked for its usage.

    Raises:
        InvalidRequest: `stream_options` is not as it must be.
    """
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object", options)
    if not body.get("stream"):
        problem = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise InvalidRequest(problem, param="stream_options")
    asked = options.get("include_usage")
    if asked is not None and not isinstance(asked, bool):
        raise wrong_type("stream_options.include_usage", "a boolean", asked)
    return asked is True


def missing(name: str) -> InvalidRequest:
    """A field must be there and is not."""
    return InvalidRequest(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def wrong_type(where: str, expected: str, got: object) -> InvalidRequest:
    """A field is of the wrong type."""
    problem = f"Invalid type for '{where}': expected {expected}, but got {KINDS.get(type(got), 'null')} instead."
    return InvalidRequest(problem, param=where, code="invalid_type")


def wrong_value(where: str, supported: Collection[str]) -> InvalidRequest:
    """A field is none of the words that it may be."""
    words = ", ".join(f"'{word}'" for word in supported)
    problem = f"Invalid value for '{where}'. Supported values are: {words}."
    return InvalidRequest(problem, param=where, code="invalid_value")


def empty(where: str) -> InvalidRequest:
    """A list must not be empty."""
    problem = (
        f"Invalid '{where}': empty array. Expected an array with minimum length 1, but got an empty array instead."
    )
    return InvalidRequest(problem, param=where, code="empty_array")


def unsupported(where: str, reason: str) -> InvalidRequest:
    """A field, or its value, is OpenAI's, but nothing here can meter what it does."""
    return InvalidRequest(f"Unsupported parameter: '{where}'. {reason}", param=where, code="unsupported_parameter")

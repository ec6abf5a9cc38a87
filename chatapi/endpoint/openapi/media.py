"""OpenAI's endpoints for images and sound, as far as they are looked at here; whatever else a body has goes through.

Source: OpenAI's API reference. The fields of forms are texts, whatever they mean.
"""

from __future__ import annotations

from chatapi.domain.image_request import MOST_IMAGES, MOST_PARTIAL_IMAGES
from chatapi.domain.speech_request import FASTEST, LONGEST_INPUT, SLOWEST, STREAM_FORMATS
from chatapi.endpoint.openapi.pieces import Piece, nullable, obj, string
from chatapi.endpoint.openapi.questions import schema_of_model

FLAG = "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[01]|)$"
FILE: Piece = {"type": "string", "format": "binary"}


def schemas() -> Piece:
    """What these endpoints take."""
    return {
        "Images": _images(),
        "ImageEdit": _image_edit(),
        "Speech": _speech(),
        "Transcription": _sound({"stream": string("Whether the reply comes as it is made.", pattern=FLAG)}),
        "Translation": _sound({}),
    }


def _images() -> Piece:
    flag = {"type": ["boolean", "string", "null"], "pattern": FLAG}
    words = {name: nullable(string()) for name in ("size", "quality")}
    fields: Piece = {
        "model": schema_of_model(),
        "prompt": string("What is to be seen."),
        "n": _number("How many images.", 1, MOST_IMAGES),
        "stream": flag | {"description": "Whether the reply comes as it is made."},
        "output_format": nullable(string("Not `svg`, which cannot be bounded before the call.", pattern="^(?!svg$)")),
        "svg": {"type": "null", "description": "What its author takes cannot be bounded before the call."},
    }
    return obj(
        "model prompt", fields | words, f"Also `partial_images` (0 to {MOST_PARTIAL_IMAGES}), for models by tokens."
    )


def _image_edit() -> Piece:
    fields: Piece = {
        "model": schema_of_model(),
        "prompt": string("What is to be seen."),
        "image": FILE | {"description": "The image; or `image[]`, once for each of several."},
        "mask": FILE | {"description": "Where it may be changed."},
        "n": string(f"How many images: 1 to {MOST_IMAGES}.", pattern="^0{0,7}([1-9]|10)$"),
        "stream": string("Whether the reply comes as it is made.", pattern=FLAG),
    }
    return obj("model prompt", fields, anyOf=[{"required": ["image"]}, {"required": ["image[]"]}])


def _speech() -> Piece:
    speed = {
        "type": ["number", "null"],
        "minimum": SLOWEST,
        "maximum": FASTEST,
        "description": "How fast it is spoken.",
    }
    fields: Piece = {
        "model": schema_of_model(),
        "input": string("What is to be said.", maxLength=LONGEST_INPUT),
        "instructions": nullable(string("How it is to be said.")),
        "stream_format": {"enum": [*STREAM_FORMATS, "", None], "description": "Sound, or events."},
        "speed": speed,
    }
    return obj("model input", fields)


def _sound(own: Piece) -> Piece:
    fields = {
        "model": schema_of_model(),
        "file": FILE | {"description": "The sound."},
        "prompt": string("A text that guides."),
        "response_format": string("Such as `json`, `text`, `srt` or `vtt`."),
    }
    return obj("model file", fields | own)


def _number(description: str, least: int, most: int) -> Piece:
    digits = f"^0{{0,7}}({'|'.join(str(number) for number in range(least, most + 1))})$"
    bounds = {"minimum": least, "maximum": most, "pattern": digits}
    return {"type": ["integer", "string", "null"], "description": description} | bounds

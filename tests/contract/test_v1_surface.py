"""OpenAI's endpoints beside chat completions, by the official client, before the demo upstream, which counts truly.

Of each call the ledger says what the upstream reported or, where it reported nothing, what was counted.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import openai
import pytest

from chatapi.upstream import tokens
from tests.support.gateway import SHARED_SETTINGS, Gateway, MakeGateway
from tests.support.ledger import await_endings, endings

SOUND = b"RIFF" + bytes(range(256)) * 800
PNG = b"\x89PNG" + bytes(3000)
PROMPT = "Say something about the sea, please."
WAIT_S = 5


@pytest.fixture(scope="module")
def demo_gateway(lasting_database_url: str, make_lasting_gateway: MakeGateway, demo_url: str) -> Gateway:
    gateway = make_lasting_gateway(
        lasting_database_url, upstream_url=demo_url, environment=SHARED_SETTINGS, start=False
    )
    gateway.start_with_users()
    return gateway


class Surface:
    """The official client at a gateway, and what the gateway's ledger says of the call that was made."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.token = gateway.sign_in("many")
        self.client = openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=self.token, max_retries=0)
        self._before = len(endings(gateway.database_url))

    def charged(self) -> tuple[str, int, int]:
        """Of the one call: where its usage is from, and its tokens."""
        (call,) = await_endings(self.gateway.database_url, 1, WAIT_S, after=self._before)
        assert (call.state, call.ended, call.answered) == ("settled", "completed", True)
        return call.source, call.prompt_tokens, call.completion_tokens


@pytest.fixture
def surface(demo_gateway: Gateway) -> Iterator[Surface]:
    made = Surface(demo_gateway)
    yield made
    made.client.close()


@pytest.mark.parametrize("given", ["hello", ["hello", "sea"], [1, 2, 3], [[1, 2, 3], [4]]], ids=str)
def test_embeddings_of_every_kind_of_input(surface: Surface, given: list[str]) -> None:
    made = surface.client.embeddings.create(model="text-embedding-3-small", input=given)
    assert len(made.data[0].embedding) == 8  # the client asked for base64, and reads it
    assert surface.charged() == ("upstream", made.usage.prompt_tokens, 0)
    assert made.usage.prompt_tokens > 0


def test_a_moderation_is_charged_the_tokens_that_are_sent(surface: Surface) -> None:
    made = surface.client.moderations.create(input=["a harmless text", "another"])
    assert [result.flagged for result in made.results] == [False, False]
    counted = sum(tokens.count_text("omni-moderation-latest", text) for text in ("a harmless text", "another"))
    assert surface.charged() == ("counted", counted, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_response(surface: Surface, stream: bool) -> None:
    if stream:
        events = list(surface.client.responses.create(model="gpt-4o-mini", input=PROMPT, stream=True))
        assert [event.type for event in events[:1]] == ["response.created"]
        assert events[-1].type == "response.completed"
        response = events[-1].response
    else:
        response = surface.client.responses.create(model="gpt-4o-mini", input=PROMPT, instructions="Be brief.")
    assert PROMPT in response.output_text
    assert response.usage is not None
    assert surface.charged() == ("upstream", response.usage.input_tokens, response.usage.output_tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion(surface: Surface, stream: bool) -> None:
    if stream:
        options = {"include_usage": True}
        events = list(
            surface.client.completions.create(model="davinci-002", prompt=PROMPT, stream=True, stream_options=options)  # type: ignore[call-overload]
        )
        text, usage = "".join(choice.text for event in events for choice in event.choices), events[-1].usage
    else:
        made = surface.client.completions.create(model="davinci-002", prompt=PROMPT, suffix="The end.", max_tokens=9)
        text, usage = made.choices[0].text, made.usage
    assert text.startswith("This is ChatAPI's demo")
    assert usage is not None
    assert surface.charged() == ("upstream", usage.prompt_tokens, usage.completion_tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_images_that_are_tokens(surface: Surface, stream: bool) -> None:
    if stream:
        events = list(surface.client.images.generate(model="gpt-image-1", prompt=PROMPT, stream=True, n=2))
        images = [event for event in events if event.type == "image_generation.completed"]
        used = [(image.usage.input_tokens, image.usage.output_tokens) for image in images]
        prompt, completion = sum(one for one, _ in used), sum(one for _, one in used)
        shown = images[-1].b64_json
    else:
        made = surface.client.images.generate(model="gpt-image-1", prompt=PROMPT, n=2)
        assert made.usage is not None and made.data is not None
        prompt, completion, shown = made.usage.input_tokens, made.usage.output_tokens, made.data[1].b64_json or ""
    assert base64.b64decode(shown).startswith(b"\x89PNG")
    assert surface.charged() == ("upstream", prompt, completion)
    assert completion == 544


def test_images_that_are_units_are_charged_the_tokens_of_their_prompt(surface: Surface) -> None:
    made = surface.client.images.generate(model="dall-e-3", prompt=PROMPT)
    assert made.data
    assert surface.charged() == ("counted", tokens.count_text("dall-e-3", PROMPT), 0)


def test_an_edit_of_several_images(surface: Surface) -> None:
    files = [("a.png", io.BytesIO(PNG), "image/png"), ("b.png", io.BytesIO(PNG), "image/png")]
    made = surface.client.images.edit(model="gpt-image-1", image=files, prompt=PROMPT, size="1024x1024")
    assert made.usage is not None
    assert surface.charged() == ("upstream", made.usage.input_tokens, made.usage.output_tokens)


def test_speech_is_relayed_as_it_comes(surface: Surface) -> None:
    made = surface.client.audio.speech.create(model="tts-1", voice="alloy", input=PROMPT)
    assert made.content.startswith(b"RIFF") and len(made.content) == 8044
    assert made.response.headers["content-type"] == "audio/wav"
    assert surface.charged() == ("counted", tokens.count_text("tts-1", PROMPT), 0)


def test_speech_in_events_says_its_tokens(surface: Surface) -> None:
    body = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": PROMPT, "stream_format": "sse"}
    made = surface.gateway.http.post("/v1/audio/speech", json=body, access_token=surface.token)
    assert made.headers["content-type"].startswith("text/event-stream")
    assert b'"speech.audio.done"' in made.content
    assert surface.charged() == ("upstream", tokens.count_text("gpt-4o-mini-tts", PROMPT), 20)


def test_speech_of_a_model_whose_sound_is_tokens_is_charged_at_its_hold_where_nothing_is_reported(
    surface: Surface,
) -> None:
    surface.client.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input=PROMPT)
    source, _, completion = surface.charged()
    assert (source, completion) == ("hold", 4 * len(PROMPT) + 500)


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe"])
def test_a_transcription(surface: Surface, model: str) -> None:
    made = surface.client.audio.transcriptions.create(
        model=model, file=("a.wav", SOUND, "audio/wav"), prompt="The sea."
    )
    text = f"This is ChatAPI's demo upstream. It heard {len(SOUND)} bytes."
    assert made.text == text
    spoken = tokens.count_text(model, text)
    if model == "whisper-1":
        assert surface.charged() == ("counted", tokens.count_text(model, "The sea."), spoken)
    else:
        assert surface.charged() == ("upstream", 10, spoken)


@pytest.mark.parametrize("form", ["text", "srt", "vtt", "verbose_json"])
def test_a_transcription_in_other_formats(surface: Surface, form: str) -> None:
    files = {"file": ("a.wav", SOUND, "audio/wav")}
    made = surface.gateway.http.upload("/v1/audio/translations", {"model": "whisper-1", "response_format": form}, files,
                                       access_token=surface.token)  # fmt: skip
    assert made.status_code == 200
    assert f"It heard {len(SOUND)} bytes." in made.text
    kind = {"vtt": "text/vtt; charset=utf-8", "verbose_json": "application/json"}.get(form, "text/plain; charset=utf-8")
    assert made.headers["content-type"] == kind
    source, prompt, completion = surface.charged()
    assert (source, prompt) == ("counted", 0) and completion >= 15


def test_a_streamed_transcription(surface: Surface) -> None:
    stream = surface.client.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("a.wav", SOUND, "audio/wav"), stream=True
    )
    events = list(stream)
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert surface.charged()[:2] == ("upstream", 10)


def test_a_stream_that_a_model_answers_whole_is_relayed_whole(surface: Surface) -> None:
    files = {"file": ("a.wav", SOUND, "audio/wav")}
    made = surface.gateway.http.upload("/v1/audio/transcriptions", {"model": "whisper-1", "stream": "true"}, files,
                                       access_token=surface.token)  # fmt: skip
    assert made.headers["content-type"] == "application/json"
    assert "text" in made.json()
    assert surface.charged()[0] == "counted"


def test_a_file_of_megabytes_reaches_the_upstream_whole(surface: Surface) -> None:
    sound = b"RIFF" + bytes(range(256)) * 4 * 1024 * 10
    made = surface.client.audio.transcriptions.create(model="whisper-1", file=("größe.wav", sound, "audio/wav"))
    assert made.text.endswith(f"It heard {len(sound)} bytes.")


def test_models_are_what_the_upstream_lists_and_the_default_one(surface: Surface) -> None:
    listed = [model.id for model in surface.client.models.list()]
    assert listed[0] == "tiny"
    assert {"gpt-4o-mini", "whisper-1"} < set(listed)
    assert surface.client.models.retrieve("gpt-4o-mini").owned_by == "demo"


def test_models_need_an_access_token_in_force(surface: Surface) -> None:
    user = surface.gateway.users.take("many")
    token = surface.gateway.token(user)
    assert surface.gateway.http.get("/v1/models", access_token=token).status_code == 200
    surface.gateway.cli("users", "disable", user.name)
    assert surface.gateway.http.get("/v1/models", access_token=token).status_code == 401

"""Forms with files: what is written is what a reader of forms reads, as often as it is sent."""

from __future__ import annotations

import io
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st
from werkzeug.formparser import parse_form_data

from chatapi.domain.model_request import Upload
from chatapi.upstream.multipart import Multipart
from chatapi.upstream.parcel import Parcel
from tests.upstream.servers import response, serving, upstream_at

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="%"), min_size=1, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def upload(field: str, name: str, content: bytes) -> Upload:
    return Upload(field, name, "audio/wav", io.BytesIO(content), len(content))


@given(
    st.dictionaries(NAMES, st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))), st.binary(max_size=200), NAMES
)
def test_a_form_is_read_as_it_was_written(fields: dict[str, str | list[str]], content: bytes, name: str) -> None:
    form = Multipart(fields, [upload("file", name, content), upload("image[]", "b", b"")])
    for _ in range(2):  # an upstream that fails may be followed by another
        said = b"".join(form.read())
        assert len(said) == form.length
        environ = {
            "wsgi.input": io.BytesIO(said), "CONTENT_LENGTH": str(len(said)), "CONTENT_TYPE": form.content_type,
            "REQUEST_METHOD": "POST",
        }  # fmt: skip
        _, values, files = parse_form_data(environ, silent=False)
        expected = {key: value if isinstance(value, list) else [value] for key, value in fields.items()}
        assert {unquote(key): given for key, given in values.to_dict(flat=False).items()} == expected
        assert files["file"].read() == content
        assert unquote(files["file"].filename or "") == name
        assert files["image[]"].read() == b""
        for file in files.values():
            file.close()


def test_a_form_goes_up_by_threads_too_with_its_length() -> None:
    answer = response(200, b'{"text": "Hi."}')
    form = Multipart({"model": "m"}, [upload("file", "a", bytes(300_000))])
    with serving(lambda connection, _: connection.sendall(answer)) as server, upstream_at(server.base_url) as calls:
        reply = calls.upstream.relay(Parcel("/v1/audio/transcriptions", "m", form), call_id="c")
    (asked,) = server.requests
    assert asked.target == "/v1/audio/transcriptions"
    assert asked.headers["content-type"] == form.content_type
    assert "transfer-encoding" not in asked.headers
    assert asked.body == b"".join(form.read())
    assert reply.value == {"text": "Hi."}


def test_large_files_are_sent_in_pieces_of_bounded_size() -> None:
    form = Multipart({"model": "m"}, [upload("file", "a", bytes(1_000_000))])
    assert max(map(len, form.read())) <= 64 * 1024


def test_no_name_breaks_out_of_its_header() -> None:
    form = Multipart({'a"\r\nX-Evil: 1': "b"}, [Upload("f", '"\r\n\r\nevil', "a/b\r\nX-Evil: 1", io.BytesIO(b""), 0)])
    said = b"".join(form.read())
    assert b"\r\nX-Evil" not in said
    assert b'name="a%22%0D%0AX-Evil: 1"' in said

"""llama.cpp's server with a tiny random model: `python -m tests.support.llama_server MODEL.gguf PORT KEY`.

It writes the model, then serves on loopback until its standard input is closed: when the tests are gone, so is it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

WIDTH, HEADS, FEED_FORWARD, LAYERS, CONTEXT = 32, 4, 64, 1, 2048
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
END = "<|end|>"
READABLE = range(33, 127)  # the bytes that are visible ASCII
_NORMAL, _CONTROL = 1, 3  # llama.cpp's kinds of token


def write_model(path: Path) -> None:
    """Write a llama of one layer with random weights and a byte-level vocabulary, about 0.1 MB."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    readable = _add_vocabulary(writer)
    _add_weights(writer, readable)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter) -> list[bool]:
    """Add the 256 bytes, two merges and an end token; which of them are readable text by themselves."""
    letters = _letters_of_bytes()
    merges = ["h e", "l l"]
    tokens = [END, *letters, *(merge.replace(" ", "") for merge in merges)]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL, *[_NORMAL] * (len(tokens) - 1)])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    return [False, *(byte in READABLE for byte in range(256)), *[True] * len(merges)]


def _letters_of_bytes() -> list[str]:
    """GPT-2's printable stand-in for every byte: itself where it prints, else a letter from U+0100 on."""
    printable = {*READABLE, *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


def _add_weights(writer: gguf.GGUFWriter, readable: list[bool]) -> None:
    random = np.random.default_rng(seed=7)

    def add(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, (random.standard_normal((rows, columns)) * 0.2).astype(np.float32))

    add("token_embd.weight", len(readable), WIDTH)
    # Unreadable tokens get no weight: among so many others they are never the likeliest, so replies are valid UTF-8.
    output = random.standard_normal((len(readable), WIDTH)) * np.array(readable)[:, None]
    writer.add_tensor("output.weight", output.astype(np.float32))
    ones = np.ones(WIDTH, np.float32)
    writer.add_tensor("output_norm.weight", ones)
    for layer in range(LAYERS):
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", ones)
        for part in ("q", "k", "v", "output"):
            add(f"blk.{layer}.attn_{part}.weight", WIDTH, WIDTH)
        add(f"blk.{layer}.ffn_gate.weight", FEED_FORWARD, WIDTH)
        add(f"blk.{layer}.ffn_up.weight", FEED_FORWARD, WIDTH)
        add(f"blk.{layer}.ffn_down.weight", WIDTH, FEED_FORWARD)


def serve(model: Path, port: int, api_key: str) -> None:
    """Serve the model on loopback until standard input is closed."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.api_keys = [api_key]
    params.n_parallel = 4
    params.n_ctx = params.n_parallel * CONTEXT
    params.n_predict = 32  # a random model seldom finds an end by itself
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = params.fit_params = params.ui = False
    params.use_jinja = True
    params.embedding = True  # besides completions
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
    serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

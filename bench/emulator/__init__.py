"""An upstream that does as the model's name says: `python -m bench.emulator --port 8100 --log served.jsonl`.

It speaks OpenAI's chat completions (`POST …/chat/completions`, plain and streamed, over HTTP/1.1 with keep-alive),
embeddings (`POST …/embeddings`) and `GET …/models`. A chat completion that offers tools calls the first of them, or the
one that `tool_choice` names, unless the last message is a tool's result; one that asks for JSON gets an object. What
would be the reply's text is then the first field of the arguments, or of the object, as its schema names it.

Model names are read from the part `emu` on, so that `gpt-4o-emu-events5` is a GPT-4o for whoever looks at its
beginning; a name without `emu` does the default. An option that is none is answered with 404.

    emu-delay50-events50-gap20-cut10       50 ms of silence, then of 50 events ten, 20 ms apart, then it breaks off

    delayN       milliseconds before the first byte of the answer (0); all times may have decimals
    eventsN      events with text in a stream (10); a plain reply has the text of all of them
    gapN         milliseconds between two events (0: each is sent on its own, without a pause)
    bytesN       bytes of text in an event, rounded up to whole words of 5 bytes (5)
    dripN        N bytes at a time, `gap` apart, headers included: slow bytes

    statusN      answer with this status and OpenAI's error object; `retryN` adds Retry-After of N seconds
    drop         close the connection before the reply
    hang         never answer
    cutN         close the connection after N events; a plain reply in the middle of its body, whatever N
    stallN       fall silent for ever after N events; a plain reply in the middle of its body
    nousage      report no usage, though it was asked for
    early        report usage on the chunk with the finish reason, and in no event of its own
    nodone       end the stream without [DONE]
    usageN       claim N completion tokens; `promptN` claims N prompt tokens

Usage follows from the request. Prompt tokens: `prompt_tokens(body)`. Completion tokens: the words of the reply, each of
which is one token of OpenAI's vocabularies: events × words, or `max_completion_tokens` (`max_tokens`) if that is less
(and the finish reason is then `length`), times `n`; what makes JSON of them is not reported. A stream reports them if
`stream_options.include_usage` says so. Embeddings use `bench.emulator.embeddings.Inputs.tokens` of the prompt.

The log gets one JSON object a line, each in one append, so that it is whole whatever is killed. When a request has been
read whole, before any of the answer: `{"log": "arrived", …}`; when the answer has ended: `{"log": "ended", …}`:

    log, at             arrived or ended; Unix time
    id                  this upstream's id of the call, also in the reply (`id`, `x-request-id`); unique over restarts
    call                the gateway's id of the call (header X-ChatAPI-Call-Id), or null
    model, stream, user  as asked for
    prompt_bytes        bytes of the messages' text
    prompt_tokens       what the report says or would say
  and, when it ended:
    how                 served: all of it was handed to the socket; cut: it broke off as it was told to;
                        client_gone: the client left before that; fault: an error status, or closed without a reply
    status              of the answer; null where there was none
    events              events with text that were handed to the socket
    produced_tokens     words in them (of a plain reply: all, once it is sent)
    completion_tokens   what was reported, null where nothing was (a report that was cut off is none)

`bench.emulator.process.Emulator` starts one, and reads its log.
"""

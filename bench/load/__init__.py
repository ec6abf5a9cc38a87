"""A load driver in a process of its own: `python -m bench.load --url http://127.0.0.1:5000 --in-flight 64 --seconds 5`.

It keeps so many calls in flight (a new one as soon as one has ended), over as many keep-alive connections, and judges
every reply: its status, its text word by word where the model is the emulator's, its finish reason and its [DONE].
What it found is printed as one JSON object; `bench.load.process.run` does that from Python.

Kinds of calls: `plain` and `stream` (POST /v1/chat/completions), `question` (GET /api?q=…), `static` (GET /). Access
tokens are read from a file, one a line, and used in turn, a connection each.
"""

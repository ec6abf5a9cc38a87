"""The yardstick: a Flask application that only ever says the same."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)


@app.get("/")
def static_reply() -> dict[str, object]:
    return {"statu": True, "message": "The same as ever."}

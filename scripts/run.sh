#!/usr/bin/env bash
# What `make run` does once everything is installed: migrate, choose an upstream, serve.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

demo=envs/users.example.csv
chatapi db upgrade
python scripts/before_run.py "$demo"
upstream=$(python -c 'from chatapi.settings import load_settings; print(load_settings().has_upstream)')
arguments=()
users=()
if [ "$upstream" = False ]; then
    # Published passwords belong into a demonstration only, never beside a real upstream.
    arguments=(--demo)
    users=(--users "$demo")
    chatapi users import "$demo"
fi

# Says how to make a first call as soon as the server, which takes over this process, is ready.
(python scripts/first_call.py "$$" "${users[@]}" &)
exec chatapi serve "${arguments[@]}"

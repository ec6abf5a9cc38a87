"""What the tests stand on: a real PostgreSQL, gateway and language model, and an upstream that fails on demand."""

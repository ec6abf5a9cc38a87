"""The tests: real servers, real databases, through the front door."""

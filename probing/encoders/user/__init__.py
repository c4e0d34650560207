"""Encoders from a user's own Python code: adapters, hashes of code, errors."""

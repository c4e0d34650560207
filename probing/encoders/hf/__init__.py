"""Encoders of Hugging Face transformers: loading, tokens, hidden states, inspection."""

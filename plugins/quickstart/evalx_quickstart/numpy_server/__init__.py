"""A small Llama-architecture model behind an OpenAI-compatible HTTP API, in NumPy alone: no compiler, no GPU, no network.

Made for the first run and for tests, not for production. Read in this order: `weights` (what a model is), `gguf` and `huggingface`
(how files become one), `tokenizer`, `llama` (the forward pass), `engine` (generation), `api` (requests and answers), `app` (HTTP and
the command line). It imports NumPy and the standard library only.
"""

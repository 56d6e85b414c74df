"""The HTTP interfaces: OpenAI, Cohere and vLLM, Open Inference Protocol, health."""

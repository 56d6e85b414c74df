"""vLLM as a server of ours: started for a container, with the training's tokens handed over.

Nothing here imports vLLM or a library of the server's own: it runs with what vLLM's image has.
"""

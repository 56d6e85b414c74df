"""The labour: one stage per process, files in, files out."""

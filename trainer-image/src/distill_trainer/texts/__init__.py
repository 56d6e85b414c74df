"""From records to tokens and back: conversations, templates, answers."""

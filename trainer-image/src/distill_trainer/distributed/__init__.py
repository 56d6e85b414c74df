"""Several processes that train one student: who they are, and how they share its weights."""

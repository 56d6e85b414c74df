"""A Triton model repository of a student: the models' settings, and the code that runs in them."""

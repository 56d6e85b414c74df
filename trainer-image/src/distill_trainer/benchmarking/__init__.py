"""Student and teacher behind the server that will serve them, under a stated load."""

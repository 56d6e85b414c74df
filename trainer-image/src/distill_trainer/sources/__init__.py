"""Where models and data come from: each kind of URI is brought to a local folder or file."""

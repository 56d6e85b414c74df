"""Where a student goes: registries, object stores, volumes."""

"""Students: cut out of a teacher's weights or loaded from a folder."""

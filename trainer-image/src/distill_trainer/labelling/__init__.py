"""From records to the teacher's embeddings of their texts."""

"""What trainer and server do alike: pull artifacts, unpack archives, read records, measure."""

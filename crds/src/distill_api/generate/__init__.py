"""From the models to everything that is made of them: CRD, JSON schemas, reference pages."""

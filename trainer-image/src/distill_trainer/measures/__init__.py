"""How good and how fast a model is: searches, measures, intervals, timings."""

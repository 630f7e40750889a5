"""Tables, targets and the picture of docs/performance.md, made from the results of a run."""

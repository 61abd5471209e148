"""The training loop and what it needs. Knows no model and no data set.

objective    what a study hands over: networks, optimisers, one step, validation
loop         the loop: resumable, deterministic, one readable function
schedule     learning rate and validations as functions of the step
state        the resumable state, one file
sampling     which items make up a step
weights      the published weights, recipe in the header
history      metrics.jsonl
progress     a bar on a terminal, plain lines in a log
distributed  devices, threads, several processes
"""

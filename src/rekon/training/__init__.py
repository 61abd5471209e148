"""The training loop and what it needs. Knows no model and no data set.

objective    what a study hands over: networks, optimisers, one step, validation
loop         the loop: resumable, deterministic, one readable function
schedule     learning rate and validations as functions of the step
sampling     which items make up a step
state        the resumable state, one safetensors file
weights      the published weights, recipe in the header
safetensors  the file format under both, with equal bytes for equal content
history      metrics.jsonl
progress     a bar on a terminal, plain lines in a log
distributed  devices, threads, several processes
"""

"""What a scale takes before anything is submitted: hours, memory, disk, cost; every number with its arithmetic.

cost       operations, activations and parameters of a network, per slice; where they are kept
network    how they are measured, on tensors without memory
probes     each kind of run's training step and use, on one slice
sets       how many slices and coils a set has, and who says so
work       what every job has to compute
machine    hours, attempts and memory on a kind of GPU
disk       bytes, stage by stage
stage      core-hours of the data stage
estimate   all of it together
needs      what jobs should ask a cluster for; no torch
show       tables
"""

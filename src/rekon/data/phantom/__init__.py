"""The simulated cohort: subjects, scanners and raw files, made from equations and the MNI probability maps.

    warp      a subject's shape: random affine and diffeomorphic B-spline deformation
    anatomy   head: MNI grey and white matter, CSF, skull, scalp, vessels, lesions
    stroke    an acute infarct in an artery's territory
    face      what lies below the brain: face, neck, cervical spine
    vessels   arteries, veins and sinuses as tubes
    knee      a procedural knee
    tissue    T1, T2, T2*, PD per tissue and field strength
    signal    Bloch steady-state equations
    coils     Biot-Savart loops
    acquire   k-space of a continuous-looking object: off-resonance, noise, oversampling, zero-padded phase encodes
    slab      the same in 3D, for formats of 3D scans
    measurement  a scan and what its file says about it
    writers   one writer per raw format; rawfile is fastMRI's
    cohort    which volumes there are, and one volume as a file

Nothing here imports torch: a volume is made in about the time that a process needs to start.
"""

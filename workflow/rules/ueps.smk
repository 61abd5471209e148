# UEPS: the rungs of the ablation ladder (Table 2), trained by `train_unrolled`.


rule inspect_ueps:
    """What the networks do inside: coil maps (Fig. 3), attention (Fig. 4), runtime against patches (Fig. 6)."""
    input:
        plan=f"runs/{SCALE}/plan.json",
        weights=[ancient(f"weights/{SCALE}/ueps/{run}.safetensors") for run in plan.inspected("ueps")],
        trained=[f"runs/{SCALE}/ueps/{run}/run.json" for run in plan.inspected("ueps")],
        manifests=[manifest(dataset, "test") for dataset in plan.scale.evaluation.datasets[:2]],
    output:
        f"results/{SCALE}/ueps/inspect.npz",
    log:
        f"logs/inspect_ueps/{SCALE}.log",
    conda:
        "../../envs/rekon.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=min(COMPUTE.gpus, 1),
        mem_mb=SHARE_MB,
        runtime=inspection_minutes("ueps"),
    shell:
        "rekon inspect ueps {input.plan} --output {output} --threads {threads} > {log} 2>&1"


rule ueps:
    """The ladder, trained and scored on every set of this scale, and its tables."""
    input:
        scores("ueps"),
        table_files("ueps") if "ueps" in plan.studies else [],
    localrule: True

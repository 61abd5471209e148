# MoRE: experts and their dense baselines, trained alike; then which samples went to which experts.


use rule train_unrolled as train_experts with:
    wildcard_constraints:
        run=runs_of("experts"),


rule inspect_more:
    """Routes and routing embeddings of the test set, and the sizes of all networks."""
    input:
        plan=f"runs/{SCALE}/plan.json",
        weights=[ancient(f"weights/{SCALE}/more/{run}.safetensors") for run in plan.inspected("more")],
        trained=[f"runs/{SCALE}/more/{run}/run.json" for run in plan.inspected("more")],
        manifests=[manifest(dataset, "test") for dataset in plan.test_sets("more")],
        masks=[ancient(path) for path in plan.masks_of("more")],
    output:
        f"results/{SCALE}/more/inspect.npz",
    log:
        f"logs/inspect_more/{SCALE}.log",
    conda:
        "../../envs/rekon.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=min(COMPUTE.gpus, 1),
        mem_mb=SHARE_MB,
        runtime=inspection_minutes("more"),
    shell:
        "rekon inspect more {input.plan} --output {output} --threads {threads} > {log} 2>&1"


rule more:
    """Experts, baselines and ablations, trained and scored, and Table I."""
    input:
        scores("more"),
        inspections("more"),
        table_files("more") if "more" in plan.studies else [],
    localrule: True

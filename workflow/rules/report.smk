# Tables, figures and the report, from results alone: nothing here runs a network but `inspect`.


rule plan:
    """The validated configuration behind a report: scale, studies, sets, recipes."""
    output:
        f"runs/{SCALE}/plan.json",
    log:
        f"logs/plan/{SCALE}.log",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        plan=dumps(plan.document()),
    shell:
        "rekon write-plan {params.plan:q} --output {output} > {log} 2>&1"


rule inspect_ueps:
    """What the networks do inside: coil maps (Fig. 3), attention (Fig. 4), runtime against patches (Fig. 6)."""
    input:
        plan=rules.plan.output,
        weights=[ancient(f"weights/{SCALE}/ueps/{run}.safetensors") for run in plan.inspected()],
        trained=[f"runs/{SCALE}/ueps/{run}/run.json" for run in plan.inspected()],
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
        mem_mb=COMPUTE.memory_gb * 1024,
    shell:
        "rekon inspect {input.plan} --output {output} --threads {threads} > {log} 2>&1"


rule tables:
    """Measured beside published, the scorecard, and every score, as CSV."""
    input:
        plan=rules.plan.output,
        scores=scores(),
    output:
        [f"{plan.reports}/tables/{name}" for name in plan.tables()],
    log:
        f"logs/tables/{SCALE}.log",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "rekon tables {input.plan} --output {params.folder} > {log} 2>&1"


rule report:
    """The self-contained report: scorecard, tables, pictures, curves, provenance."""
    input:
        plan=rules.plan.output,
        # ancient: git gives tracked files new times in any order; what changes a table changes `tracked` too
        tables=ancient(rules.tables.output),
        inspection=rules.inspect_ueps.output,
        tracked=f"runs/{SCALE}/mlflow.json",
        runs=trained_files(f"runs/{SCALE}/{{run}}/run.json"),
    output:
        report(
            f"{plan.reports}/index.html",
            caption="../report/report.rst",
            category="Report",
        ),
    log:
        f"logs/report/{SCALE}.log",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "rekon report {input.plan} --output {params.folder} > {log} 2>&1"

# Tables, figures and the report, from results alone: nothing here runs a network.


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
        inspections=inspections(*plan.scale.studies),
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

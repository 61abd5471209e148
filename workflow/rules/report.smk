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


rule list_splits:
    """Which volumes the runs of a study learn from, are validated and scored on: lists with their hashes."""
    input:
        plan=rules.plan.output,
        manifests=lambda wc: study_manifests(wc.study),
    output:
        f"runs/{SCALE}/splits/{{study}}.json",
    log:
        f"logs/list_splits/{SCALE}/{{study}}.log",
    wildcard_constraints:
        study="|".join(plan.papers),
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    shell:
        "rekon list-splits {input.plan} --study {wildcards.study} --output {output} > {log} 2>&1"


for _study in plan.papers:

    rule:
        name:
            f"tables_{_study}"
        input:
            plan=rules.plan.output,
            scores=compared(_study),
        output:
            table_files(_study),
        log:
            f"logs/tables/{SCALE}/{_study}.log",
        localrule: True
        conda:
            "../../envs/rekon.yaml"
        params:
            folder=lambda wildcards, output: Path(output[0]).parent,
            study=_study,
        shell:
            "rekon tables {input.plan} --study {params.study} --output {params.folder} > {log} 2>&1"


rule scorecard:
    """Every claim of every paper against what was measured, and where every run comes from."""
    input:
        plan=rules.plan.output,
        scores=scores(),
    output:
        [f"{plan.reports}/tables/{name}" for name in ("scorecard.csv", "runs.csv")],
    log:
        f"logs/scorecard/{SCALE}.log",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "rekon scorecard {input.plan} --output {params.folder} > {log} 2>&1"


rule tables:
    """Every published table with ours beside it, and the scorecard, as CSV."""
    input:
        all_tables(),
    localrule: True


rule report:
    """The self-contained report: scorecard, tables, pictures, curves, provenance."""
    input:
        plan=rules.plan.output,
        # ancient: git gives tracked files new times in any order; what changes a table changes `tracked` too
        tables=[ancient(path) for path in all_tables()],
        inspections=inspections(*plan.scale.studies),
        tracked=f"runs/{SCALE}/mlflow.json",
        runs=trained_files(f"runs/{SCALE}/{{run}}/run.json"),
        splits=[f"runs/{SCALE}/splits/{study}.json" for study in plan.papers],
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

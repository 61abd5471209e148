# Rekon: accelerated-MRI papers, from raw k-space to the final tables.
#
#   snakemake --cores 2                                 everything at demo scale (simulated cohort, CPU)
#   snakemake --cores 8 --configfile config/open.yaml   small real k-space
#   snakemake --profile slurm                           the papers' data and sizes, on a cluster
#   snakemake --cores 2 ueps                            one stage: data, ueps, tables, report, ...
#   snakemake --cores 2 -R evaluate                     one rule again, and what depends on it
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.27")
if "scale" not in config:  # --configfile chose none

    configfile: "config/demo.yaml"


sys.path.insert(0, str(Path(workflow.basedir) / "src"))
from rekon.errors import UserError
from rekon.files import yaml_text
from rekon.plan import plan as make_plan
from rekon.plan import CLASSICAL, on_images, reconstructs, scoring
from rekon.recipe import dumps

try:
    plan = make_plan(config, workflow.basedir)
except UserError as error:
    raise WorkflowError(str(error)) from None

SCALE = plan.scale.scale
COMPUTE = plan.scale.compute
# `rekon` must be found when snakemake is called by its path, without an activated environment; where a file came from
# and over how many nodes a job is spread are no parameters of a rule, because they must not make anything rerun
shell.prefix(
    "trap '[ $? != 137 ] || echo killed from outside, most likely for want of memory: raise compute.memory_gb in the "
    "file of the scale under config/, or mem_mb in the profile >&2' EXIT; "
    f'command -v rekon >/dev/null || export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; '
    f"export REKON_MIRROR={shlex.quote(plan.scale.mirror or '')} REKON_NODES={COMPUTE.nodes} "
    f"REKON_NODE_GPUS={COMPUTE.gpus // COMPUTE.nodes}; "
)


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/cluster.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/masks.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/ueps.smk"
include: "workflow/rules/nas.smk"
include: "workflow/rules/more.smk"
include: "workflow/rules/dpm.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/version.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        released(),

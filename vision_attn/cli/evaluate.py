"""`vision-attn evaluate`: how faithful each kind of heatmap of a run is."""

from vision_attn.cli.arguments import ArgumentParser, check_at_least, names_in, output_folder
from vision_attn.core.terminal import say

EXPLAINERS = (
    "random,center,attention,evidence,contrast,grad_cam,contrast:grad_cam,saliency,input_x_gradient"
)
METRICS = "grid_pointing,pointing_game,energy,insertion,deletion,single_deletion"
EPILOG = """NAME:ARGUMENT passes an argument on: contrast:grad_cam, grid_pointing:2.
Only images that the model classifies correctly are explained, each for its own class. The controls
random and center are always among the explainers: a score means nothing without theirs.
"""


def parser() -> ArgumentParser:
    """The options of the command."""
    found = ArgumentParser("evaluate", "Score the heatmaps of a run.", EPILOG)
    found.add_run()
    add = found.add_argument
    add("--data", metavar="DIR_OR_NAME", help="other images than the run's own test images")
    add("--truth", metavar="PATH", help="where the objects are: boxes.csv, or a folder of masks")
    add("--explainers", default=EXPLAINERS, metavar="A,B", help="(%(default)s)")
    add("--metrics", default=METRICS, metavar="A,B", help="(%(default)s)")
    add("--limit", type=int, default=500, metavar="N", help="images at most (%(default)s)")
    add("--batch_size", type=int, default=32, metavar="N", help="images per batch (%(default)s)")
    add("--out", metavar="DIR", help="where to write (RUN/evaluations/<date-time>)")
    return found


def run(argv: list[str]) -> int:
    """Score every explainer, print a table, and write it as JSON and as a chart."""
    options = parser().parse_args(argv)
    check_at_least(options, limit=1, batch_size=1)

    from vision_attn.evaluation.evaluate import EvaluationRequest, evaluate, print_tables
    from vision_attn.training.restore import load_for_evaluation

    request = EvaluationRequest.from_names(
        names_in(options.explainers), names_in(options.metrics), options.limit, options.batch_size
    )
    model, data, stage = load_for_evaluation(
        options.run, options.trust, options.data, options.truth
    )
    with output_folder(options.out, model.folder.evaluations) as out:
        try:
            evaluation = evaluate(model, data, stage, request, out)
        except KeyboardInterrupt:
            if (out / "evaluation.json").exists():
                say(f"stopped    the explainers that were finished are kept in {out}", error=True)
            raise
    print_tables(evaluation)
    say(f"written    {out}")
    return 0

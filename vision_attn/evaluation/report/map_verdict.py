"""Whether the heatmaps of a run can be trusted: their scores compared with those of the controls.

A map that loses to *center*, a blob in the middle of every image, or to *random* noise says
nothing that is not known without the model.
"""

import math
from collections.abc import Mapping

from vision_attn.core.errors import few_of
from vision_attn.evaluation.benchmark import Summary
from vision_attn.evaluation.results import CONTROLS

OWN = ("evidence", "contrast", "attention")  # the first that was measured is judged


def loses_to(
    scores: Mapping[str, Mapping[str, Summary]], name: str, metric: str, higher: bool
) -> list[str]:
    """The controls that a kind of map does not beat in a metric, in three digits.

    There are none for a control itself.

    >>> def of(mean): return {"energy": {"images": 9, "mean": mean, "median": 0, "quartiles": []}}
    >>> scores = {"random": of(0.2), "center": of(0.5), "evidence": of(0.4)}
    >>> loses_to(scores, "evidence", "energy", True)
    ['center']
    """
    own = mean_of(scores, name, metric)
    if name in CONTROLS or own is None:
        return []
    controls = {control: mean_of(scores, control, metric) for control in CONTROLS}
    sign = 1 if higher else -1
    return [
        control
        for control, mean in controls.items()
        if mean is not None and round(sign * (own - mean), 3) <= 0
    ]


def mean_of(scores: Mapping[str, Mapping[str, Summary]], name: str, metric: str) -> float | None:
    """The mean score; None if no image could be scored."""
    found = scores.get(name, {}).get(metric)
    mean = found["mean"] if found and found["images"] else None
    return None if mean is None or math.isnan(mean) else mean


def verdict(
    scores: Mapping[str, Mapping[str, Summary]], higher_is_better: Mapping[str, bool]
) -> str:
    """One line on whether the map that the report shows can be trusted."""
    judged = next((name for name in OWN if name in scores), None)
    if judged is None:
        return "Not known: none of the model's own maps was measured."
    measured = {m: h for m, h in higher_is_better.items() if mean_of(scores, judged, m) is not None}
    if not measured:
        return f"Not known: no score of the {judged} maps could be measured."
    lost = {m: loses_to(scores, judged, m, higher) for m, higher in measured.items()}
    failed = [f"{m.replace('_', ' ')} ({' and '.join(who)})" for m, who in lost.items() if who]
    against = " and ".join(control for control in CONTROLS if control in scores) or "no control"
    if not failed:
        return (
            f"Yes, as far as measured: the {judged} maps beat {against} in all {len(lost)} scores."
        )
    if len(failed) == len(lost):
        return f"No: the {judged} maps do not beat the controls in any score: {few_of(failed, 6)}."
    won = len(lost) - len(failed)
    return (
        f"Partly: the {judged} maps beat {against} in {won} of {len(lost)} scores, "
        f"but not in {few_of(failed, 6)}."
    )


def losers(
    scores: Mapping[str, Mapping[str, Summary]], higher_is_better: Mapping[str, bool]
) -> list[str]:
    """The kinds of maps that do not beat a control, each with the scores; none of the controls.

    >>> def of(mean): return {"energy": {"images": 9, "mean": mean, "median": 0, "quartiles": []}}
    >>> losers({"center": of(0.5), "grad_cam": of(0.4), "evidence": of(0.6)}, {"energy": True})
    ['grad cam in energy']
    """
    lost = {
        name: [m for m, higher in higher_is_better.items() if loses_to(scores, name, m, higher)]
        for name in scores
    }
    return [
        f"{name} in {', '.join(metrics)}".replace("_", " ")
        for name, metrics in lost.items()
        if metrics
    ]

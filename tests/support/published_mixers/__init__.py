"""Mixers written after published ones: good ones, and others with one fault each.

`GOOD` by name; `BAD` by name, each with the checks of which one at least must answer.
"""

from __future__ import annotations

from torch import nn

from published_mixers import attentive, by_position, convolutional, spectral
from published_mixers import bad_in_numbers as numbers
from published_mixers import bad_in_process as process

GOOD: dict[str, type[nn.Module]] = {
    name: value
    for module in (spectral, convolutional, attentive, by_position)
    for name, value in vars(module).items()
    if isinstance(value, type) and value.__module__ == module.__name__
}

BAD: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    kind.__name__: (kind, checks)
    for checks, kinds in {
        ("input_untouched",): (numbers.WritesWithoutGradients, numbers.WritesInInference),
        ("side_effects", "determinism"): (process.DrawsFromPython, process.DrawsFromNumpy),
        ("side_effects",): (
            process.SeedsInTraining,
            process.SeedsWhatItDrew,
            process.ChangesDirectory,
            process.ChangesUmask,
            process.ChangesEnvironmentInTraining,
            process.ChangesImportPath,
            process.ChangesSignals,
            process.ChangesLogging,
            process.ReplacesFunction,
            process.ReplacesMethod,
            process.AddsHookToAll,
            process.AllowsTf32,
            process.TunesCudnn,
            process.ChoosesAttention,
            process.SwitchesMkldnn,
            process.WatchesForNan,
        ),
        ("train_and_eval",): (
            numbers.OtherTypeInTraining,
            numbers.IgnoresEvaluation,
            numbers.LeavesTraining,
        ),
        ("half_precision",): (numbers.WrongInBfloat16, numbers.WrongInFloat16),
        ("gradient_values",): (
            numbers.HalfInputGradient,
            numbers.MeanForSumInGradient,
            numbers.StopsHalfTheGradient,
        ),
        ("options",): (
            numbers.FaultyTogether,
            numbers.NotFiniteTogether,
            numbers.RandomForOneOption,
        ),
        ("macs",): (
            numbers.CountsItsProjection,
            numbers.CountsNoShifts,
            numbers.StatesTooFew,
            numbers.CountsNoOwnOperator,
        ),
        ("resources",): (
            process.KeepsInputs,
            process.KeepsCopies,
            process.StartsThread,
            process.StartsProcess,
            process.LeavesFileOpen,
        ),
    }.items()
    for kind in kinds
}

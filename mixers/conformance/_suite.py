"""All checks, in the order in which they run, each apart from the others."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn

from mixers.conformance._allowed_sites import check_allows
from mixers.conformance._buffers import check_non_persistent_buffers
from mixers.conformance._counting import check_macs
from mixers.conformance._declarations import check_declarations, check_signature, expected_failures
from mixers.conformance._global_state import isolated, on_device
from mixers.conformance._gradient_values import check_gradient_values
from mixers.conformance._graphs import check_compile, check_export, check_fx, check_torchscript
from mixers.conformance._half_precision import check_half_precision
from mixers.conformance._hygiene import (
    check_batch_independence,
    check_input_untouched,
    check_side_effects,
)
from mixers.conformance._mixer_under_test import MixerUnderTest
from mixers.conformance._names import CHECK_NAMES, ON_ANY_DEVICE, names_of
from mixers.conformance._numerics import (
    check_determinism,
    check_gradients_bf16,
    check_gradients_fp32,
    check_train_and_eval,
)
from mixers.conformance._portability import (
    check_channels_last,
    check_deepcopy,
    check_meta_device,
    check_safetensors,
    check_state_dict,
)
from mixers.conformance._receptive_field import check_receptive_field
from mixers.conformance._resources import check_resources
from mixers.conformance._serialisation import check_serialisation
from mixers.conformance._shapes import (
    check_dilation,
    check_options,
    check_other_map_sizes,
    check_shapes,
)
from mixers.conformance.records import CheckFailed, CheckRecord, NotApplicable, Status, Warned
from mixers.third_party_code import described, is_interrupt

CHECKS: dict[str, Callable[[MixerUnderTest], str]] = {
    "signature": check_signature,
    "declarations": check_declarations,
    "shapes": check_shapes,
    "options": check_options,
    "allows": check_allows,
    "other_map_sizes": check_other_map_sizes,
    "dilation": check_dilation,
    "gradients_fp32": check_gradients_fp32,
    "gradients_bf16": check_gradients_bf16,
    "gradient_values": check_gradient_values,
    "half_precision": check_half_precision,
    "determinism": check_determinism,
    "train_and_eval": check_train_and_eval,
    "side_effects": check_side_effects,
    "batch_independence": check_batch_independence,
    "input_untouched": check_input_untouched,
    "resources": check_resources,
    "meta_device": check_meta_device,
    "non_persistent_buffers": check_non_persistent_buffers,
    "state_dict": check_state_dict,
    "safetensors": check_safetensors,
    "deepcopy": check_deepcopy,
    "serialisation": check_serialisation,
    "channels_last": check_channels_last,
    "macs": check_macs,
    "receptive_field": check_receptive_field,
    "torchscript": check_torchscript,
    "fx": check_fx,
    "compile": check_compile,
    "export": check_export,
}
assert tuple(CHECKS) == CHECK_NAMES


def check_mixer(
    mixer_class: type[nn.Module],
    *,
    only: Collection[str] | None = None,
    device: str | None = None,
) -> list[CheckRecord]:
    """A record for every check, or for those named; torch's shared state stays as it was.

    `device` is by default one that the mixer requires, if it is here, else the CPU. ValueError for
    a name that is no check's.
    """
    names = names_of(only)
    subject = MixerUnderTest(mixer_class, device)
    return [run_check(name, subject) for name in names]


def run_check(name: str, subject: MixerUnderTest) -> CheckRecord:
    """One check; whatever it raises but an interrupt becomes its record.

    A failure that the class expects in `expected_failed_checks` is XFAIL, its absence XPASS.
    """
    unmet = subject.unmet_requirement
    if unmet is not None and name not in ON_ANY_DEVICE:
        return CheckRecord(name, Status.SKIPPED, unmet)
    record = _outcome(name, subject)
    reason = expected_failures(subject.mixer_class).get(name)
    if reason is None or record.status not in (Status.FAILED, Status.PASSED):
        return record
    if record.status is Status.FAILED:
        return CheckRecord(name, Status.XFAIL, f"expected: {reason}; {record.detail}")
    return CheckRecord(name, Status.XPASS, f"passes, though expected to fail: {reason}")


def _outcome(name: str, subject: MixerUnderTest) -> CheckRecord:
    try:
        with isolated(), on_device(subject.device):
            return CheckRecord(name, Status.PASSED, CHECKS[name](subject))
    except Warned as warning:
        return CheckRecord(name, Status.WARNING, str(warning))
    except NotApplicable as reason:
        return CheckRecord(name, Status.SKIPPED, str(reason))
    except CheckFailed as failure:
        return CheckRecord(name, Status.FAILED, str(failure))
    except BaseException as error:  # third-party code may raise anything
        if is_interrupt(error):
            raise
        return CheckRecord(name, Status.FAILED, described(error))

"""`search mixers`: which mixers there are, what they take, whether they keep the contract."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.cli.errors import ExitCode, user_errors
from search.cli.output import echo
from search.cli.parameters import Device

if TYPE_CHECKING:
    from mixers import MixerEntry, MixerRegistry
    from mixers.conformance.records import CheckRecord

_plugins = click.option(
    "--plugins", type=click.Path(), help="plugins.toml to use.  [default: ./plugins.toml]"
)
_as_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")


@click.group(invoke_without_command=True)
@_plugins
@_as_json
@click.option("--verify", is_flag=True, help="Import each mixer in its own process.")
@click.pass_context
def mixers(context: click.Context, plugins: str | None, as_json: bool, verify: bool) -> None:
    """List the installed token mixers with their states."""
    if context.invoked_subcommand is not None:
        return
    with user_errors():
        from mixers import load_registry

        registry = load_registry(plugins)
        rows = [_row(entry, registry, plugins, verify) for entry in registry.all_entries()]
        echo(json.dumps(rows, indent=2) if as_json else _as_text(rows))


def _row(
    entry: MixerEntry, registry: MixerRegistry, plugins: str | None, verify: bool
) -> dict[str, str]:
    state, reason = registry.state(entry)
    if verify and state.is_usable:
        from mixers.conformance.supervised import check_in_child

        failed = [
            record
            for record in check_in_child(entry.name, plugins=plugins, only=("signature",))
            if record.status == "FAILED"
        ]
        if failed:
            state, reason = type(state).BROKEN, failed[0].detail
    return {
        "name": entry.name,
        "distribution": entry.distribution,
        "version": entry.version,
        "state": state.value,
        "reason": reason,
    }


def _as_text(rows: list[dict[str, str]]) -> str:
    columns = ("name", "distribution", "version", "state")
    table = [columns, *(tuple(row[column] for column in columns) for row in rows)]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    reasons = [f"{row['name']}: {row['reason']}" for row in rows if row["reason"]]
    return "\n".join([*lines, *([""] if reasons else []), *reasons])


@mixers.command()
@click.argument("name")
@click.option("--channels", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--map-size", type=click.IntRange(1, 4096), default=14, show_default=True)
@click.option(
    "--traceback", is_flag=True, help="Show the traceback of a mixer that cannot be imported."
)
@_plugins
@_as_json
def show(
    name: str, channels: int, map_size: int, traceback: bool, plugins: str | None, as_json: bool
) -> None:
    """Show the options of mixer NAME, what it declares, and its cost at a site.

    The site has CHANNELS channels and a square map of MAP-SIZE positions a side.
    """
    with user_errors():
        from mixers import MixerSpec, PluginError, Site, load_registry

        registry = load_registry(plugins)
        entry = _found(name, registry)
        from search.cli.mixer_report import describe_mixer  # imports torch

        reason = entry.broken()
        if reason is not None:
            shown = f"\n{entry.broken_traceback()}" if traceback else ""
            raise PluginError(f"{reason}{shown}")
        site = Site(channels=channels, height=map_size, width=map_size)
        description = describe_mixer(entry, registry, MixerSpec(entry.name), site)
        echo(json.dumps(description, indent=2) if as_json else _described(description))


def _found(name: str, registry: MixerRegistry) -> MixerEntry:
    from mixers import UnknownMixerError

    try:
        return registry[name]
    except UnknownMixerError as error:
        words = str(error) if str(error).startswith(name) else f"got {name}; {error}"
        raise UnknownMixerError(f"NAME: {words}") from None


def _described(description: dict[str, Any]) -> str:
    lines = [
        f"{description['name']}  {description['distribution']} {description['version']}",
        f"{description['entry_point']}, {description['origin']}",
        "",
        description["documentation"],
        "",
        "options",
    ]
    for option, said in description["options"].items():
        lines.append(f"  {option} = {said['default']}   allowed: {said['allowed']}")
        if said["searched"] != said["allowed"]:
            lines.append(f"  {'':{len(option)}}   searched: {said['searched']}")
    lines += [] if description["options"] else ["  none"]
    declared = [name for name, value in description["declares"].items() if value]
    lines += ["", f"declares: {', '.join(declared) or 'nothing'}"]
    lines += [f"requires: {', '.join(description['requires'])}"] if description["requires"] else []
    site, cost = description["site"], description["cost"]
    where = f"{site['channels']} channels, {site['height']}×{site['width']}"
    if cost is None:
        lines.append(f"cost at {where}: does not go there: {description['refusal']}")
    else:
        lines.append(f"cost at {where}: {cost['params']:,} params, {cost['macs']:,} MACs")
    return "\n".join(lines)


@mixers.command()
@click.argument("name")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="Time limit of each check in seconds.",
)
@click.option(
    "--device",
    type=Device(),
    help="cpu, cuda or cuda:N; by default what the mixer requires, if it is here, else cpu.",
)
@_plugins
@_as_json
def check(
    name: str, time_limit: float, device: str | None, plugins: str | None, as_json: bool
) -> None:
    """Check mixer NAME against the contract, in a process of its own.

    Exit code 4 if a check fails; 0 if only warnings and failures that the mixer declares in
    expected_failed_checks are found.
    """
    with user_errors():
        from mixers import load_registry
        from mixers.conformance.supervised import check_in_child

        entry = _found(name, load_registry(plugins))
        if device is not None:
            from search.devices import require_device

            device = str(require_device(device))
        records = check_in_child(entry.name, plugins=plugins, time_limit=time_limit, device=device)
        if as_json:
            echo(json.dumps([record.to_data() for record in records], indent=2))
        else:
            echo(_checked(records))
    if any(record.status == "FAILED" for record in records):
        sys.exit(ExitCode.ENVIRONMENT)


def _checked(records: list[CheckRecord]) -> str:
    width = max(len(record.check) for record in records)
    lines = [f"{r.check:{width}}  {r.status:7}  {r.detail}".rstrip() for r in records]
    counts = {str(status): 0 for status in ("PASSED", "FAILED", "SKIPPED")}
    for record in records:  # the other states are named when there are any
        counts[str(record.status)] = counts.get(str(record.status), 0) + 1
    return "\n".join([*lines, ", ".join(f"{count} {status}" for status, count in counts.items())])


@mixers.command()
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=".",
    show_default=True,
    help="Parent of the new package's folder.",
)
def new(name: str, out: Path) -> None:
    """Write a package with a mixer called NAME, ready to be installed and checked."""
    with user_errors():
        from mixers.skeleton import write_skeleton

        folder = write_skeleton(name, out)
        echo(f"{folder}\nnext: pip install -e {folder} && search mixers check {name}")

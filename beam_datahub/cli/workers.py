"""`workers`: a pool of workers beside a task manager or an executor."""

from __future__ import annotations

import click


@click.command(short_help="Start workers for jobs of a cluster, beside its task managers.")
@click.option("--port", type=click.IntRange(1, 65535), default=50000, show_default=True, help="Where jobs ask for workers.")
def command(port: int) -> None:
    """Wait at a port for jobs that want workers, and start them here, until Ctrl-C.

    Jobs find them by `--engine-option --environment_type=EXTERNAL --engine-option --environment_config=localhost:50000`. Anybody
    who reaches the port can run code here: let a firewall keep others off.
    """
    from beam_datahub.runtime.engines.workers import serve

    serve(port, lambda: click.echo(f"workers start at localhost:{port} when a job asks for them", err=True))

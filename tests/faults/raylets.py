"""A Ray cluster of this machine, in a process of its own, for runs that are killed."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

_MARK = "GENIXER_TEST_RAYLETS"
_CLUSTER = """
import os, sys
from ray.cluster_utils import Cluster
own = {"object_store_memory": 80 << 20}
head = {"num_cpus": 0, "include_dashboard": False, **own}
cluster = Cluster(initialize_head=True, head_node_args=head)
for _ in range(3):
    cluster.add_node(num_cpus=2, **own)
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@contextlib.contextmanager
def raylets() -> Iterator[None]:
    """A head without CPUs and three nodes with two each; runs of this process find them.

    Whoever forks must not be connected to Ray, so another process starts and ends them.
    """
    os.environ[_MARK] = uuid4().hex
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Loopback alone, for the cluster and for whoever joins it.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    command = [sys.executable, "-c", _CLUSTER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise SystemExit("Ray did not start")
            os.environ["RAY_ADDRESS"] = address
            import genixer.pipeline.ray  # noqa: F401  (once, before anything is forked)

            yield
        finally:
            os.environ.pop("RAY_ADDRESS", None)
            # A word, not the end of the pipe: a forked child may hold that open.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write("end\n")
                process.stdin.flush()


def actors() -> list[int]:
    """Process ids of the living actors on these raylets; their titles say so."""
    mark = f"{_MARK}={os.environ[_MARK]}".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # one that ended meanwhile
            ours = mark in (place / "environ").read_bytes().split(b"\0")
            if ours and (place / "cmdline").read_bytes().startswith(b"ray::Bench"):
                found.append(int(place.name))
    return found

"""A Dask cluster: one that others have started, or worker processes on this machine."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from course_lib.errors import CourseError, UsageError

if TYPE_CHECKING:
    from distributed import Client


@contextlib.contextmanager
def dask_client(scheduler: str | None = None, jobs: int = 2) -> Iterator["Client"]:
    """Connects to a cluster for the time of a `with`; without an address it starts one here and ends it.

    Args:
        scheduler: address of a running scheduler, such as tcp://host:8786.
        jobs: without one, so many worker processes of one thread each.

    Raises:
        UsageError: fewer than one job.
        CourseError: no scheduler answers there.
    """
    if jobs < 1:
        raise UsageError(f"The number of jobs is {jobs}; it must be at least 1.")
    from distributed import Client, LocalCluster

    if scheduler is None:
        with (
            LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = Client(scheduler, timeout=20, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CourseError(
            f"No Dask scheduler answers at {scheduler} ({type(error).__name__}): start one with "
            "`dask scheduler`."
        ) from error
    with client:
        yield client

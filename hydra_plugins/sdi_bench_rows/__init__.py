"""hydra/sweeper=rows: Hydra's own sweeper, each of whose jobs is composed on its own, with tiers of rows beside params."""

import sys
from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

__all__ = ["Rows"]


class Rows(Sweeper):
    """The sweeps of sdi_bench. params: setting -> values, as in Hydra's basic sweeper. common, tiers: words for each row of an
    experiment (conf/experiment). criteria: what `sdi_bench.evaluate` judges by. shards: of a job at most; None: all of a run.
    """

    def __init__(self, **_: Any) -> None:
        """Its settings are read from the configuration: as arguments they come with `${...}` in the rows' words filled in."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.said: dict[str, Any] = OmegaConf.to_container(config.hydra.sweeper, resolve=False)  # type: ignore[assignment]
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Raises SystemExit with the exit status, unless it is 0."""
        from sdi_bench import command_line, sweeps  # at a sweep, not when Hydra looks for plugins

        loader = self.hydra_context.config_loader
        asked = command_line.jobs_of(arguments, self.said, loader)
        in_turn = self.config.hydra.runtime.choices["hydra/launcher"] == "basic"
        status = sweeps.sweep(
            asked,
            lambda overrides: loader.load_sweep_config(self.config, list(overrides)),
            self.launch,
            self.said["shards"],
            in_turn,
        )
        if status:
            sys.exit(status)

    def launch(self, jobs: Sequence[Sequence[str]]) -> list[JobReturn]:
        """What came of each job, in the order given."""
        size, made = self.said["max_batch_size"] or len(jobs), []
        for k in range(0, len(jobs), size):
            made += self.launcher.launch([list(job) for job in jobs[k : k + size]], initial_job_idx=k)
        return made

"""python -m sdi_bench.run: the main job: prompts x seeds through samplers, measured, and compared with a paired reference.

  python -m sdi_bench.run -m sampler=sds,sdi,ddim                                   three samplers, one table
  python -m sdi_bench.run prompt="a red sofa, side view"                            one prompt, DDIM
  python -m sdi_bench.run -m model=digits sampler=sds,sdi guidance.scale=1,3,7.5    each combination; -m: several values

SETTING=VALUE says anything of the configuration. Results go to results/main/ (results=FOLDER, name=NAME); the same command
again goes on where it was stopped. Options of its own:

  --wide          the table in one piece, with a column for each setting that it has, whatever the terminal's width
  --png           a PNG of each picture, in the folder png/ of each run
  --tensorboard   measures and pictures as events of TensorBoard, in results/main/tensorboard/ (extra `tensorboard`)
"""

import gc
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from . import helps, sweeps
from .command_line import conf_dir, words_of
from .explain import explain
from .store import NotWrittenError
from .sweeps import HandedOnError, job
from .texts import line


def main() -> None:
    """Check the whole command, run it, show the table.

    Exit status 2 for bad input; 1 if a shard failed, results cannot be kept, or metrics were asked for and nothing could be
    measured.
    """
    gc.freeze()  # what a command imports besides, as sdi_bench/_collector.py
    argv = sys.argv[1:]
    if helps.asks(argv):
        named = [word for word in argv if "=" not in word and not word.startswith("-")]
        try:
            print(helps.about(named, "run") if named else helps.page(__doc__, "run") + "\n")
        except ValueError as error:
            fail(error, argv)
        if named:
            return
    warn_as("sdi_bench.run")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, and are a line
    try:
        sweeps.TYPED[:] = argv
        sweeps.OPEN.clear()
        sys.argv[1:], _ = words_of(argv)
        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(job)()
    except HandedOnError as handed:
        fail(handed.__cause__, argv)
    except Exception as error:
        fail(error, argv)


def fail(error: BaseException | None, argv: Sequence[str]) -> NoReturn:
    """End with one line and the exit status: 2 for what the user said, 1 where files cannot be written."""
    wrong = isinstance(error, ValueError | HydraException | OmegaConfBaseException) and not isinstance(error, NotWrittenError)
    if error is None or not (wrong or isinstance(error, NotWrittenError | OSError)):
        raise error or AssertionError
    print(f"sdi_bench.run: {explain(error, argv) if wrong else line(str(error))}", file=sys.stderr)
    sys.exit(2 if wrong else 1)


def warn_as(name: str) -> None:
    """From now on a warning is a line of this command."""
    warnings.showwarning = lambda message, *_: print(f"{name}: {line(str(message))}", file=sys.stderr)


def stoppable(command: Callable[[], None], name: str) -> None:
    """Run a command; stopped by the user, it says so in a line. Exit status 130."""
    try:
        command()
    except KeyboardInterrupt:
        print(f"\n{name}: stopped; what is finished stays, and the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    stoppable(main, "sdi_bench.run")

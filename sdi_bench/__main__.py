"""sdi_bench: score distillation and DDIM as one update with a different choice of noise (arXiv 2405.15891)."""

import runpy
import sys

from .texts import near_match

COMMANDS = {
    "run": ("sdi_bench.run", "sample prompts x seeds with any samplers, measure, compare: the main job"),
    "evaluate": ("sdi_bench.evaluate", "measure finished runs, or folders of pictures"),
    "plot": ("sdi_bench.plot", "figures of runs"),
    "report": ("sdi_bench.report", "one page of all that a results folder holds"),
    "status": ("sdi_bench.status", "how far a sweep is, and what failed"),
    "invert": ("sdi_bench.invert", "picture -> noise -> picture by DDIM inversion"),
    "export": ("sdi_bench.export", "a finished 3D run as turntables, depth, normals, meshes"),
    "train": ("sdi_bench.train", "train a prior that diffusers opens"),
    "verify": ("sdi_bench.verify", "prove the identities on this machine"),
    "bench": ("sdi_bench.bench", "how fast and how large it is on this machine"),
    "doctor": ("sdi_bench.doctor", "is this machine fit for the main job?"),
    "translate": ("sdi_bench.translate", "another project's configuration as a command here"),
}
"""name -> (the module that `python -m` runs, what it does)."""

EXAMPLES = """\
  sdi_bench run -m sampler=sds,sdi,ddim                          three samplers on the same items, in one table
  sdi_bench evaluate gen/ --real real/ --prompts prompts.csv     a folder of pictures against another
  sdi_bench run --help                                           each command says more of itself"""


def usage() -> str:
    """What --help shows."""
    lines = [f"  {name:10}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join([str(__doc__), "", EXAMPLES, "", *lines, "", "`sdi_bench NAME` is `python -m sdi_bench.NAME`."])


def module_of(name: str) -> str:
    """The module of a command. Raises ValueError for none of that name."""
    if name not in COMMANDS:
        raise ValueError(f"{name}: no such command; {near_match(name, list(COMMANDS))}")
    return COMMANDS[name][0]


def main() -> None:
    """Run a command as `python -m` does, with the rest of the line. Exit status 2 for one that there is not."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    try:
        module = module_of(name)
    except ValueError as error:
        print(f"sdi_bench: {error}", file=sys.stderr)
        sys.exit(2)
    sys.argv[1:] = rest
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""python -m sdi_bench.groups: what can be chosen of each group of conf/, as its own comments say it; conf/README.md is this.

python -m sdi_bench.groups > conf/README.md
"""

import re

from .command_line import conf_dir, options

GROUPS = {
    "sampler": "what moves x0 from noise to a picture",
    "noise": "κ, the noise that a distillation sampler adds to x0: `noise@sampler.noise=NAME`",
    "direction": "what a distillation sampler follows: `direction@sampler.direction=NAME`",
    "update": "how far a step goes: `update@sampler.update=NAME`",
    "student": "the second network of `vsd` and `esd`: `student@sampler.direction.student=NAME`",
    "guidance": "how the prediction with the prompt and the one without it become one",
    "grid": "at which noise levels a sampler asks the network",
    "schedule": "what a noise level is: a and b of x = a·x0 + b·ε",
    "model": "the denoiser that is asked",
    "scene": "what is optimised: a picture, or an object seen through a camera",
    "preset": "a method with all its settings, as published or as released",
    "deviation": "of a released preset, what is taken back to the paper: `deviation=[NAME,NAME]`",
    "metric": "what is measured: `metric=[NAME,NAME]`",
    "probe": "what is measured along the path, and kept instead of pictures",
    "experiment": "settings for the main job, or a whole sweep with its claims",
    "recipe": "what `python -m sdi_bench.train` trains",
    "figure": "what `python -m analysis.plot` draws",
}
"""Every folder of conf/ but Hydra's own, in the order in which a reader meets them, and what it is for."""

HEAD = """\
# Configurations: what can be chosen

Every folder here is a group, and every file in it is one choice. On a command line `group=choice` takes a choice, and
`group.field=value` sets one of its numbers: `sampler=sdi grid.n_levels=20`. Beside the files lie the settings of each
command: [config.yaml](config.yaml) of `sdi_bench.run`, and [evaluate](evaluate.yaml), [invert](invert.yaml),
[export](export.yaml) and [train](train.yaml) of the commands of these names. [claims.yaml](claims.yaml) holds what would
decide each claim of the paper. A folder of your own joins in by `--config-dir mine`.

This page is made from the first comment of each file by the command below; a test holds the two together.

```bash
python -m sdi_bench.groups > conf/README.md   # cost: 2 s
```
"""


def sentence(text: str) -> str:
    """The first sentence of a yaml's first comment, on one line, without its full stop; of a figure its title.

    Lines that are indented further (commands) are no part of it. Nothing where there is no comment.
    """
    lines = []
    for line in text.splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("# ") or line.startswith("#  "):
            break
        lines.append(line[2:])
    title = re.search(r"^title: *\"?(.*?)\"?$", text, flags=re.M)
    if not lines and title:
        return title[1]
    return re.split(r"(?<!\beq)(?<!\bsec)(?<!\bapp)(?<!\bfig)(?<!\.)\.(?= |$)", " ".join(lines))[0].strip(" :")


def listed() -> list[tuple[str, str, str]]:
    """(group, choice, sentence) of all that can be chosen, group by group, the choices by name."""
    return [
        (group, choice, sentence((conf_dir() / group / f"{choice}.yaml").read_text(encoding="utf-8")))
        for group in GROUPS
        for choice in options(group)
    ]


def page() -> str:
    """conf/README.md."""
    parts = [HEAD]
    for group, what in GROUPS.items():
        rows = ["| `{}` | {} |".format(choice, said.replace("|", "\\|")) for of, choice, said in listed() if of == group]
        parts.append("\n".join([f"## `{group}`: {what}\n", "| choice | what it is |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def main() -> None:
    """Print the page."""
    print(page(), end="")


if __name__ == "__main__":
    main()

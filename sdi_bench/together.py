"""Runs of a sweep that sample at once and ask their model together: the rows of all go through the network in one call.

Each run has a thread of its own and goes on as if it were alone; they take turns, so that none takes time that is charged to
another. One that asks waits until all the others ask too, or are done; whoever comes last asks for all. So a few items of many
samplers fill a batch as many items of one sampler would.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from .levels import Level, abreast
from .models.base import Conds, Denoiser, Prediction, Reads, Remembers

Result = TypeVar("Result")


@dataclass
class Question:
    """What one run asks, and seconds that its share of the answer took."""

    x: Tensor
    level: Level
    conds: Conds
    grad: bool = field(default_factory=torch.is_grad_enabled)
    answer: "Future[Prediction]" = field(default_factory=Future)
    took: float = 0.0

    @property
    def rows(self) -> int:
        """That go through the model for it."""
        return len(self.x) * len(self.conds)

    @property
    def kind(self) -> tuple[object, ...]:
        """Questions of one kind can be asked at once."""
        return self.x.shape[1:], self.x.dtype, self.x.device, len(self.conds), self.grad, self.level.told is None


def clock(device: torch.device | str) -> float:
    """Seconds, once an accelerator has done what it was asked for: it works on while the host goes on."""
    kind = torch.device(device).type
    if kind in ("cuda", "mps"):
        getattr(torch, kind).synchronize()
    return time.perf_counter()


class Meeting:
    """Where n runs ask one model. Answers differ from those that each would get alone by what a batch's size does to rounding,
    for the built-in priors nothing.
    """

    def __init__(self, model: Denoiser, n: int) -> None:
        self.model, self.n, self.stopped = model, n, False
        self.asked: list[Question] = []
        self.lock, self.turn = Lock(), Lock()
        self.most: float = math.inf

    def ask(self, question: Question) -> Prediction:
        """Wait for the others, who have their turns meanwhile, and for the answer. Raises what the model raises, and
        KeyboardInterrupt once it is stopped.
        """
        self.turn.release()
        try:
            with self.lock:
                if self.stopped:
                    raise KeyboardInterrupt
                self.asked.append(question)
                everyone = self.everyone()
            self.reply(everyone)
            return question.answer.result()
        finally:
            self.turn.acquire()

    def leave(self) -> None:
        """A run is done; nobody waits for it any more."""
        with self.lock:
            self.n -= 1
            everyone = self.everyone()
        self.reply(everyone)

    def stop(self) -> None:
        """Have every run end where it asks next."""
        with self.lock:
            self.stopped, everyone, self.asked = True, self.asked, []
        for question in everyone:
            question.answer.set_exception(KeyboardInterrupt())

    def everyone(self) -> list[Question]:
        """All questions, once all runs have asked."""
        if len(self.asked) < self.n:
            return []
        everyone, self.asked = self.asked, []
        return everyone

    def reply(self, everyone: Sequence[Question]) -> None:
        """Ask the model, once for each kind of question."""
        kinds: dict[tuple[object, ...], list[Question]] = {}
        for question in everyone:
            kinds.setdefault(question.kind, []).append(question)
        try:
            for alike in kinds.values():
                with torch.set_grad_enabled(alike[0].grad):
                    self.reply_to(alike)
        except BaseException as error:  # whatever it is, nobody waits for ever
            for question in everyone:
                if not question.answer.done():
                    question.answer.set_exception(error)

    def reply_to(self, alike: Sequence[Question]) -> None:
        """One call for all of these; where that fails, as for want of memory, one for each, and as many never again at once."""
        rows = sum(question.rows for question in alike)
        if len(alike) > 1 and rows < self.most:
            with suppress(Exception):
                self.answer(alike)
                return
        failed = 0  # here nothing of the failed call is held any more
        for question in alike:
            try:
                self.answer([question])
            except Exception as own:
                question.answer.set_exception(own)
                failed += 1
        if len(alike) > 1 and not failed:
            self.most = min(self.most, rows)

    def answer(self, alike: Sequence[Question]) -> None:
        """One call for all of these."""
        began, sizes = clock(alike[0].x.device), [len(question.x) for question in alike]
        if len(alike) == 1:
            found = self.model.predict(alike[0].x, alike[0].level, alike[0].conds)
        else:
            level = abreast([question.level for question in alike], sizes, alike[0].x.device)
            conds = [[prompt for row in rows for prompt in row] for rows in zip(*(each.conds for each in alike), strict=True)]
            found = self.model.predict(torch.cat([question.x for question in alike]), level, conds)
        eps, took = found.eps.split(sizes, dim=1), clock(alike[0].x.device) - began
        for k, (question, size) in enumerate(zip(alike, sizes, strict=True)):
            question.took = took * size / sum(sizes)
            question.answer.set_result(Prediction(partial(rows_of, found, sizes, k), eps[k]))

    def seat(self) -> Denoiser:
        """The model as one of the runs has it: its `predict` asks here. `waited`: seconds spent on others so far."""
        seat = copy(self.model)

        def predict(x: Float[Tensor, "batch *shape"], level: Level, conds: Conds) -> Prediction:
            if self.stopped:
                raise KeyboardInterrupt
            question = Question(x, level, conds)
            if question.grad and x.requires_grad:  # a gradient's graph is of one thread
                return self.model.predict(x, level, conds)
            began = time.perf_counter()
            found = self.ask(question)
            object.__setattr__(seat, "waited", waited(seat) + time.perf_counter() - began - question.took)
            return found

        own: dict[str, object] = {"predict": predict}
        if isinstance(self.model, Remembers):
            own["forget"] = self.model.forget
        if isinstance(self.model, Reads):
            own["read"] = self.model.read
        for name, value in own.items():
            object.__setattr__(seat, name, value)
        return seat


def rows_of(found: Prediction, sizes: Sequence[int], k: int) -> Tensor:
    """The x0 of the k-th of those that asked together."""
    return found.x0.split(list(sizes), dim=1)[k]


def waited(model: Denoiser) -> float:
    """Seconds that a run with this model has spent on the rows of others."""
    return float(getattr(model, "waited", 0.0))


def together(model: Denoiser, runs: Sequence[Callable[[Denoiser], Result]]) -> list[Result]:
    """What each run returns, given the model as it is to ask it. Where one raises, the others end too, and it is raised."""
    if len(runs) == 1:
        return [runs[0](model)]
    meeting, n_threads = Meeting(model, len(runs)), torch.get_num_threads()

    def one(run: Callable[[Denoiser], Result]) -> Result:
        try:
            with meeting.turn:
                return run(meeting.seat())
        finally:
            meeting.leave()

    with ThreadPoolExecutor(len(runs), initializer=torch.set_num_threads, initargs=(n_threads,)) as pool:
        made = [pool.submit(one, run) for run in runs]
        try:
            done, _ = wait(made, return_when=FIRST_EXCEPTION)
            for each in done:
                each.result()
            return [each.result() for each in made]
        except BaseException:
            meeting.stop()
            raise
